"""TensorBoard's pages as a person sees them, in a headless Chromium: with content, and without an error."""

import shutil
import time

import pytest
from sklearn.datasets import load_digits
from small import digits, gaussian_vae
from watched import Server

import keras_vae

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver: the Debian packages chromium and chromium-driver"
)
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A TensorBoard of two runs, each of which was watched for two epochs."""
    folder = tmp_path_factory.mktemp("logs")
    x, y = digits(), load_digits().target
    for latent in (2, 3):
        vae = gaussian_vae(latent=latent)
        vae.compile("adam", jit_compile=False)
        watch = keras_vae.callbacks.TensorBoard(folder / f"{latent}_latents", hparams={"units": 16})
        vae.fit(x[:300], validation_data=(x[300:400], y[300:400]), epochs=2, verbose=0, callbacks=[watch])
    return Server(folder).url


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    quiet = ["background-networking", "component-update", "sync", "quic", "gpu"]
    for argument in ["headless=new", "no-sandbox", "no-first-run", *(f"disable-{each}" for each in quiet)]:
        options.add_argument(f"--{argument}")
    options.add_argument("--enable-unsafe-swiftshader")  # the projector draws by WebGL
    options.add_argument("--window-size=1500,1300")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def look(browser, url):
    """Opens a tab, and waits until JavaScript finds something there, which comes back; without an error on the way."""

    def look(tab, script):
        browser.get("about:blank")
        browser.get(f"{url}/#{tab}")
        until = time.monotonic() + PATIENCE
        while not (found := browser.execute_script(f"{EVERYWHERE}\n{script}")):
            words = browser.execute_script(f"{EVERYWHERE}\nreturn words()")
            assert time.monotonic() < until, f"{tab}: nothing after {PATIENCE} s, but: {words[-1000:]}"
            time.sleep(0.2)
        assert not [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        return found

    return look


# Of a page, its shadow trees and frames: elements that a selector finds and that take up room, and all words.
EVERYWHERE = """
const roots = (root) => [root].concat(Array.from(root.querySelectorAll('*')).flatMap(each => {
  const inner = each.shadowRoot || (each.tagName == 'IFRAME' ? each.contentDocument : null);
  return inner ? roots(inner) : [];
}));
const every = (selector) => roots(document).flatMap(root => Array.from(root.querySelectorAll(selector))).filter(
  each => each.getBoundingClientRect().width > 0 && each.getBoundingClientRect().height > 0);
const words = () => roots(document).flatMap(root => Array.from(root.querySelectorAll('*:not(style):not(script)'))).map(
  each => Array.from(each.childNodes).filter(node => node.nodeType == 3).map(node => node.textContent.trim()).join(' ')
).filter(text => text.trim()).join(' | ');
const says = (...texts) => texts.every(text => words().includes(text));
"""


def test_scalars(look):
    """Charts whose lines have points."""
    script = "const lines = every('svg path').filter(path => (path.getAttribute('d') || '').split('L').length > 1);"
    assert look("scalars", f"{script} return says('epoch_bits_per_dimension', 'latent') && lines.length") >= 2


def test_images(look):
    """Pictures that have arrived, no smaller than they are."""
    script = "const sizes = every('img').map(each => [each.naturalWidth, each.naturalHeight]);"
    sizes = look(
        "images",
        f"{script} return says('manifold', 'traversal', 'reconstructions', 'samples') && sizes.length >= 3 && sizes",
    )
    assert all(min(size) >= 100 for size in sizes)


def test_projector(look):
    """A canvas with as many points as there are examples, of ten labels."""
    said = r"says('Points:', '| 100 |', 'posterior_means') && /10\s+colors/.test(words())"
    assert look("projector", f"return every('canvas').length && {said}")


def test_hparams(look):
    """A row a run, with what was given, what the model is, and how it ended."""
    assert look("hparams", "return says('2_latents', '3_latents', 'units', 'likelihood', 'ELBO, validation')")
