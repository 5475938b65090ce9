"""Blocks of steps: what they are made of, how many programs they take, and that nothing shows but the speed."""

import itertools
import logging
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import callbacks
from keras.optimizers import Adam
from small import digits, gaussian_vae

import keras_vae
from keras_vae.engine.arrays import ArrayBlocks
from keras_vae.engine.block_size import MOST_BATCHES, USUAL_BATCHES, asks_for_batches, batches_per_block
from keras_vae.engine.blocks import Block, BlockFunction

X = digits()[:50]
WEIGHTS = np.random.default_rng(0).uniform(0.0, 3.0, size=50).astype("float32")


class Watcher(callbacks.Callback):
    """Asks for batches, and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.iterations = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ended.append((batch, logs["loss"]))
        self.iterations.append(int(self.model.optimizer.iterations))


def trained(x=X, epochs=2, batch_size=8, compiled=None, **kwargs):
    """A VAE and its history: without XLA, which takes seconds to compile, unless `compiled` says otherwise."""
    vae = gaussian_vae()
    vae.compile(**{"optimizer": "sgd", "jit_compile": False, **(compiled or {})})
    history = vae.fit(x, batch_size=batch_size, epochs=epochs, verbose=0, **kwargs)
    return vae, history.history


def test_blocks_train_as_single_steps_do():
    """50 examples in batches of 8 are a block of six batches and a short one, shuffled alike from one seed."""
    options = {"sample_weight": WEIGHTS, "validation_data": X[:20]}
    single, history = trained(compiled={"optimizer": Adam(1e-2), "steps_per_execution": 1}, **options)
    blocks, other_history = trained(compiled={"optimizer": Adam(1e-2), "jit_compile": True}, **options)
    for name in history:
        np.testing.assert_allclose(other_history[name], history[name], rtol=1e-5, err_msg=name)
    for one, other in zip(single.weights, blocks.weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    assert blocks.optimizer.iterations == 14


@pytest.mark.parametrize("kind", ["arrays", pytest.param("dataset", marks=pytest.mark.slow)])
def test_a_batch_shape_is_compiled_once(kind):
    """Full batches in one program, the short last one in another or, if a block is the epoch, in the same; however
    many epochs and calls there are."""
    data = {"x": X, "batch_size": 8}
    if kind == "dataset":
        data = {"x": tf.data.Dataset.from_tensor_slices(X).batch(8)}
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=True)
    for _ in range(2):
        vae.fit(**data, epochs=3, validation_data=data["x"], verbose=0)
        vae.evaluate(**data, verbose=0)
    for function in (vae.train_function, vae.test_function):
        assert function.program.experimental_get_tracing_count() == (1 if kind == "arrays" else 2)
        assert function.step.experimental_get_tracing_count() == 2


@pytest.mark.parametrize("kind", [pytest.param("arrays", marks=pytest.mark.slow), "dataset"])
def test_fewer_batches_go_through_the_same_program(kind):
    """Of 50 rows, 30 and 45 in batches of 5, by sevens as in `fit`: the last three, six and two are given room."""
    vae, _ = trained(epochs=1)
    expected, _ = trained(epochs=1, compiled={"steps_per_execution": 1})
    for rows in (50, 30, 45):
        data = {"x": X[:rows], "batch_size": 5}
        if kind == "dataset":
            data = {"x": tf.data.Dataset.from_tensor_slices(X[:rows]).batch(5)}
        found = vae.evaluate(**data, verbose=0)
        np.testing.assert_allclose(found, expected.evaluate(X[:rows], batch_size=5, verbose=0), rtol=1e-5)
    assert list(vae.test_function.capacities.values()) == [7]
    assert vae.test_function.program.experimental_get_tracing_count() == 1


def test_log_likelihood_is_traced_once_for_any_number_of_samples():
    vae, _ = trained(epochs=1)
    for num_samples in (50, 500, 5000, 777):
        vae.log_likelihood(X, num_samples=num_samples, batch_size=25, verbose=0)
    (sampler,) = vae.engine.readers.values()
    assert sampler.predict_function.program.experimental_get_tracing_count() == 1


# Callbacks.


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_callback_sees_every_batch_it_asks_for(jit_compile):
    watcher = Watcher()
    trained(epochs=1, callbacks=[watcher], compiled={"jit_compile": jit_compile})
    assert watcher.begun == [0, 1, 2, 3, 4, 5, 6]
    assert [batch for batch, _ in watcher.ended] == watcher.begun
    assert watcher.iterations == [1, 2, 3, 4, 5, 6, 7]
    assert len({loss for _, loss in watcher.ended}) == 7


@pytest.mark.parametrize("phase, method", [("train", "fit"), ("test", "evaluate")])
def test_each_phase_s_callbacks_see_its_batches(phase, method):
    """And a batch that is watched goes through a program of one step, whatever blocks there were before."""
    seen = []
    watch = callbacks.LambdaCallback(**{f"on_{phase}_batch_end": lambda batch, logs: seen.append(batch)})
    vae, _ = trained(validation_data=X)
    getattr(vae, method)(X, batch_size=8, verbose=0, callbacks=[watch])
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    function = vae.train_function if phase == "train" else vae.test_function
    assert sorted(function.capacities.values()) == [1, 6]


def test_batches_are_asked_for_by_phase():
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    assert asks_for_batches(watch) and asks_for_batches(watch, ("train",)) and not asks_for_batches(watch, ("test",))


def test_a_callback_can_stop_training_at_a_batch():
    class Stopper(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    vae, _ = trained(callbacks=[Stopper()])
    assert vae.optimizer.iterations == 3


def test_which_callbacks_ask_for_batches(tmp_path):
    class EpochsOnly(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            pass

    class OwnProgress(callbacks.ProgbarLogger):
        def on_train_batch_end(self, batch, logs=None):
            pass

    idle = [
        EpochsOnly(),
        callbacks.ProgbarLogger(),
        callbacks.History(),
        callbacks.EarlyStopping(),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.ModelCheckpoint(tmp_path / "best.keras"),
        callbacks.BackupAndRestore(tmp_path / "backup"),
        callbacks.TensorBoard(tmp_path),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    ]
    assert [callback for callback in idle if asks_for_batches(callback)] == []
    assert not asks_for_batches(idle)
    asking = [
        Watcher(),
        OwnProgress(),
        callbacks.TerminateOnNaN(),
        callbacks.ModelCheckpoint(tmp_path / "best.keras", save_freq=10),
        callbacks.BackupAndRestore(tmp_path / "backup", save_freq=10),
        callbacks.TensorBoard(tmp_path, update_freq=10),
        callbacks.TensorBoard(tmp_path, profile_batch=(2, 4)),
        callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
    ]
    assert [callback for callback in asking if not asks_for_batches(callback)] == []
    assert asks_for_batches([*idle, asking[0]])
    assert asks_for_batches(callbacks.CallbackList([*idle, asking[0]]))


# How many steps.


def feed(num_batches=None, batch_size=100, example_size=784):
    return types.SimpleNamespace(num_batches=num_batches, batch_size=batch_size, example_size=example_size)


@pytest.mark.parametrize(
    "num_batches, expected",
    [(600, USUAL_BATCHES), (None, USUAL_BATCHES), (7, 7), (1, 1), (469, 47), (64, 32)],
)
def test_a_block_divides_the_epoch_where_it_can(num_batches, expected):
    """Of 469 = 7 x 67 batches, 47 a block leave one too few in the tenth."""
    assert batches_per_block(feed(num_batches), example_work=10**5) == expected


def test_a_block_is_what_it_was_if_that_will_do():
    assert batches_per_block(feed(469), 10**5, before=25) == 25
    assert batches_per_block(feed(469), 10**5, before=7) == 47
    assert batches_per_block(feed(7), 10**5, before=25) == 7


def test_a_block_is_bounded_by_memory_work_and_the_steps_asked_for():
    assert batches_per_block(feed(600, example_size=224 * 224 * 3), 10**6) == 1
    assert batches_per_block(feed(600), 10**9) == 1
    assert batches_per_block(feed(600), 10**6, bounds=(24, None)) == 24
    assert batches_per_block(feed(600), 10**6, bounds=(30, 45)) == 15
    assert batches_per_block(feed(600), 10**6, bounds=(101,)) == 1
    assert batches_per_block(feed(None, example_size=None), 10**6) == 1
    assert all(batches_per_block(feed(num), 10**6) <= MOST_BATCHES for num in range(1, 300))


@pytest.mark.parametrize(
    "steps_per_epoch, validation_steps",
    [(5, 2), (1, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((6, 1), (7, None)))],
)
def test_steps_asked_for_are_kept_to_exactly(steps_per_epoch, validation_steps):
    vae, _ = trained(
        epochs=3, steps_per_epoch=steps_per_epoch, validation_data=X[:20], validation_steps=validation_steps
    )
    assert vae.optimizer.iterations == 3 * steps_per_epoch
    assert vae.seed_generator.state[1] == 3 * steps_per_epoch  # a seed a step
    assert vae.evaluation_seeds.state[1] == (validation_steps or 3)


@pytest.mark.parametrize("steps_per_epoch", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 7))])
def test_a_callback_that_watches_batches_changes_none_of_them(steps_per_epoch):
    """Epochs go on where the last one ended, and round, whether the steps divide the seven batches or not."""
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    options = {"epochs": 3, "steps_per_epoch": steps_per_epoch, "shuffle": False}
    (one, expected), (other, history) = trained(**options), trained(callbacks=[watch], **options)
    assert one.optimizer.iterations == other.optimizer.iterations == 3 * steps_per_epoch
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)


@pytest.mark.slow
def test_steps_per_execution_is_kept_if_given_and_saved_as_asked(tmp_path):
    vae, _ = trained(compiled={"steps_per_execution": 3, "jit_compile": "auto"})
    assert vae.steps_per_execution == 3
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert again.get_compile_config()["steps_per_execution"] == 3
    assert again.get_compile_config()["jit_compile"] == "auto"
    with pytest.raises(ValueError, match="compile: expected `steps_per_execution` to be an integer >= 1; received: 0"):
        vae.compile("sgd", steps_per_execution=0)


def test_the_summary_says_how_steps_are_compiled(capsys):
    vae, _ = trained(epochs=1)
    vae.compile("sgd")
    vae.summary()
    assert "Training steps: one XLA program (no layer is faster outside XLA)" in capsys.readouterr().out
    vae.compile("sgd", jit_compile=False)
    lines = []
    vae.summary(print_fn=lines.append)
    assert "Training steps: loss ops as XLA programs, networks outside (as asked)" in lines
    assert "KL: closed form" in lines


# What the batches hold.


def rows_of(element):
    """The rows of an element of one array, a block or a batch, that count, in order."""
    if not isinstance(element, Block):
        return element[0].numpy()
    full = element.batches[0].numpy()[: element.num_batches]
    rest = [] if element.rest is None else element.rest[0].numpy()
    return np.concatenate([full.reshape(-1, *full.shape[2:]), *rest])


def first_of(blocks, num):
    return [rows_of(element) for element in itertools.islice(iter(blocks), num)]


def epochs_of(blocks, num_elements, epochs=2):
    elements = first_of(blocks, num_elements * epochs)
    return [np.concatenate(elements[i * num_elements : (i + 1) * num_elements]) for i in range(epochs)]


def test_an_epoch_is_every_row_once_in_an_order_of_its_own():
    rows = np.arange(103)
    first, second = epochs_of(ArrayBlocks((rows,), 10, 4, True, seed=3), 3)
    np.testing.assert_array_equal(np.sort(first), rows)
    np.testing.assert_array_equal(np.sort(second), rows)
    assert np.mean(first == rows) < 0.1 and np.mean(first == second) < 0.1
    again, _ = epochs_of(ArrayBlocks((rows,), 10, 4, True, seed=3), 3)
    np.testing.assert_array_equal(first, again)
    other, _ = epochs_of(ArrayBlocks((rows,), 10, 4, True, seed=4), 3)
    assert np.mean(first == other) < 0.1
    unshuffled, _ = epochs_of(ArrayBlocks((rows,), 10, 4, False, seed=3), 3)
    np.testing.assert_array_equal(unshuffled, rows)


@pytest.mark.parametrize("at_once", [4, None], ids=["blocks", "batches"])
def test_an_order_follows_from_the_number_of_the_first_batch(at_once):
    """Of 80 rows in batches of 10, from batch 8 on: the second epoch of a run from 0; from 12 on, its second half."""
    rows = np.arange(80)

    def read(first, elements, continues=False):
        return np.concatenate(first_of(ArrayBlocks((rows,), 10, at_once, True, 3, lambda: first, continues), elements))

    an_epoch = 2 if at_once else 8
    run = read(0, 3 * an_epoch)
    np.testing.assert_array_equal(read(8, 2 * an_epoch), run[80:])
    np.testing.assert_array_equal(read(12, an_epoch, continues=True), run[120:200])
    assert sorted(read(12, an_epoch)) == sorted(rows)  # an epoch of its own


def test_orders_are_uniform():
    """Where each of ten rows ends up, over 4,000 orders, by chi-square at a false-alarm rate of 1e-5."""
    from scipy import stats

    orders = np.stack(first_of(ArrayBlocks((np.arange(10),), 10, 1, True, seed=0), 4000))
    counts = np.stack([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    statistic = np.sum((counts - 400.0) ** 2 / 400.0)
    assert stats.chi2.sf(statistic, 81) > 1e-5


def test_shuffling_batches_keeps_them_whole():
    rows = np.arange(103)
    first, second = epochs_of(ArrayBlocks((rows,), 10, 4, "batch", seed=3), 3)
    for epoch in (first, second):
        batches = epoch[:100].reshape(10, 10)
        np.testing.assert_array_equal(batches - batches[:, :1], np.tile(np.arange(10), (10, 1)))
        np.testing.assert_array_equal(np.sort(epoch), rows)
        np.testing.assert_array_equal(epoch[100:], [100, 101, 102])
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_validation_split_takes_the_last_rows():
    vae, history = trained(epochs=1, validation_split=0.3, shuffle=False)
    other, expected = trained(X[:35], epochs=1, validation_data=X[35:], shuffle=False)
    assert history == expected
    assert vae.optimizer.iterations == other.optimizer.iterations == 5


def test_a_step_of_one_s_own_is_given_the_labels():
    seen = []

    class Labelled(keras_vae.VAE):
        def train_step(self, data):
            _, y, weight = keras.utils.unpack_x_y_sample_weight(data)
            seen.append((y.shape, y.dtype, weight is None))
            return super().train_step(data)

    like = gaussian_vae()
    vae = Labelled(like.encoder, like.decoder, seed=0)
    vae.compile("sgd", jit_compile=False)
    vae.fit(X, np.arange(50), batch_size=10, verbose=0)
    assert seen == [((10,), "int64", True)]


@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_labels_of_text_do_not_reach_a_program(jit_compile):
    labels = np.array([f"digit {i}" for i in range(50)])
    _, expected = trained(epochs=1, shuffle=False, compiled={"jit_compile": jit_compile})
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(8)
    _, history = trained(data, batch_size=None, epochs=1, compiled={"jit_compile": jit_compile})
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-6)


def test_an_epoch_without_a_batch_has_no_numbers_of_the_one_before():
    def batches():
        for start in range(0, 40, 8):
            yield X[start : start + 8]

    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False)
    history = vae.fit(batches(), steps_per_epoch=5, epochs=2, verbose=0).history
    assert history["loss"][0] > 0 and history["loss"][1:] in ([], [0.0])


def test_lengths_that_differ_are_refused():
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=r"x and sample_weight to hold as many examples; received lengths \[50, 49"):
        vae.fit(X, sample_weight=WEIGHTS[:49], verbose=0)


def test_a_train_step_of_the_user_s_own_runs_in_blocks_and_its_logs_come_back():
    class Counting(keras_vae.VAE):
        def train_step(self, data):
            logs = super().train_step(data)
            return {"loss": logs["loss"], "rows": tf.shape(data[0])[0]}

    like = gaussian_vae()
    vae = Counting(like.encoder, like.decoder, seed=0)
    vae.compile("sgd", jit_compile=False)
    history = vae.fit(X, batch_size=8, epochs=1, verbose=0).history
    assert history["rows"] == [2]
    assert vae.optimizer.iterations == 7


def test_batches_that_cannot_be_stacked_are_left_to_keras_and_it_is_said(caplog):
    seen = []
    function = BlockFunction(
        types.SimpleNamespace(steps_per_execution=5),
        step=lambda batch: {},
        jit_compile=False,
        fallback=lambda iterator: seen.extend(iterator) or {"loss": len(seen)},
        make_ready=None,
        labels=True,
    )
    sparse = [(tf.sparse.from_dense([[1.0, 0.0]]),) for _ in range(3)]
    with caplog.at_level(logging.WARNING, logger="keras_vae"):
        assert function(iter(sparse)) == {"loss": 3}
    assert [list(batch) for batch in seen] == [list(batch) for batch in sparse]
    assert "ragged or sparse tensors: stepping one by one" in caplog.text
    with pytest.raises(StopIteration):
        function(iter([]))


# What XLA makes of a block.


def test_nothing_of_a_training_step_is_outside_its_program():
    vae, _ = trained(epochs=1, compiled={"jit_compile": True})
    block = (tf.constant(X[:48].reshape(6, 8, 8, 8, 1)),)
    rest = (tf.constant(X[None, 48:]),)
    compiled = vae.train_function.program.experimental_get_compiler_ir(block, tf.constant(6), rest)("optimized_hlo")
    assert compiled.count(" while(") == 1  # the loop over the batches; everything else is within it
    # On a CPU a custom call would be one of the host; on a GPU matrix products are such calls.
    calls = "infeed|outfeed|send|recv" + ("|custom-call" if keras_vae.backend.ON_CPU else "")
    outside = re.findall(rf" (?:{calls})\(.*", compiled)
    assert not outside


def test_without_xla_the_loss_ops_are_programs_still():
    vae, _ = trained(epochs=1, compiled={"jit_compile": False})
    block = (tf.constant(X[:48].reshape(6, 8, 8, 8, 1)),)
    graph = vae.train_function.program.get_concrete_function(block, tf.constant(6)).graph.as_graph_def()
    compiled = [
        function.signature.name
        for function in graph.library.function
        if "_XlaMustCompile" in function.attr and function.attr["_XlaMustCompile"].b
    ]
    # Forward and backward of the likelihood, of the KL and of sigma's floor; and the noise.
    assert len([name for name in compiled if "_value_" in name]) >= 3, compiled
    assert len([name for name in compiled if "_gradient_" in name]) >= 3, compiled
    assert any("_program_" in name for name in compiled), compiled
