"""Data as people have it: whatever Keras takes trains the same as the array that it stands for."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from keras import layers
from small import gaussian_vae
from variants import fast_for

import keras_vae
from keras_vae.data import intake, magnitudes
from keras_vae.data.sparse_rows import SparseRows, sparse_rows
from keras_vae.layers import Impute, IndependentNormal, IndependentPoisson, Masked

RNG = np.random.default_rng(0)
# A third of it zeros; 50 rows make three batches and a rest.
X = np.where(RNG.uniform(size=(50, 6)) < 0.6, RNG.normal(size=(50, 6)), 0.0).astype("float32")
OPTIONS = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}


def table_vae(**kwargs):
    vae = gaussian_vae((6,), latent=2, units=5, **kwargs)
    vae.compile("adam", jit_compile=False)
    return vae


class Foreign:
    """A tensor of another library, as torch has them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, f"torch.{array.dtype}"

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array


def mapped(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


KINDS = {
    "frame": lambda x, folder: pd.DataFrame(x),
    "frame of its own types": lambda x, folder: pd.DataFrame(x).convert_dtypes(),
    "lists": lambda x, folder: x.tolist(),
    "csr": lambda x, folder: scipy.sparse.csr_array(x),
    "dok": lambda x, folder: scipy.sparse.dok_matrix(x),
    "coo": lambda x, folder: scipy.sparse.coo_matrix(x.astype("float64")),
    "tf.sparse": lambda x, folder: tf.sparse.from_dense(x),
    "mapped": mapped,
    "mapped view": lambda x, folder: np.asarray(mapped(x, folder))[:],
    "torch": lambda x, folder: Foreign(x),
    "masked array": lambda x, folder: np.ma.masked_array(x, np.zeros(x.shape, bool)),
    "float64": lambda x, folder: x.astype("float64"),
    "stream of sparse batches": lambda x, _: tf.data.Dataset.from_tensor_slices(tf.sparse.from_dense(x)).batch(16),
    "generator of frames": lambda x, _: (pd.DataFrame(x[at : at + 16]) for _ in range(2) for at in range(0, 50, 16)),
}


def said_by_us(warned):
    return [each for each in warned if each.category is UserWarning]


@pytest.fixture(scope="module")
def expected():
    vae = table_vae()
    losses = vae.fit(X, **OPTIONS).history["loss"]
    return losses, vae.log_likelihood(X, 5, 50, 0, seed=1), np.asarray(vae.encode(X).mean())


FAST = ("frame", "lists", "csr", "tf.sparse", "mapped", "torch")


@pytest.mark.parametrize("kind", fast_for(*FAST, among=KINDS))
def test_every_kind_trains_scores_and_encodes_as_its_array(kind, expected, tmp_path):
    losses, log_p, means = expected
    x, vae = KINDS[kind](X, tmp_path), table_vae()
    is_generator, is_stream = kind.startswith("generator"), kind.startswith(("stream", "generator"))
    options = {**OPTIONS, "batch_size": None if is_stream else 16, "steps_per_epoch": 4 if is_generator else None}
    np.testing.assert_allclose(vae.fit(x, **options).history["loss"], losses, rtol=1e-6)
    if is_generator:
        return
    np.testing.assert_allclose(vae.log_likelihood(x, 5, 50, 0, seed=1), log_p, rtol=1e-5)
    assert vae.predict(x, verbose=0)["nll"].shape == (50,)
    if not is_stream:
        np.testing.assert_allclose(vae.encode(x).mean(), means, rtol=1e-4, atol=1e-6)
        vae.fit(x, validation_split=0.2, verbose=0)
    assert len(vae.fit(x, validation_data=x, verbose=0).history["val_loss"]) == 1


def test_a_frame_of_a_mapped_file_is_read_where_arrays_are_a_data_set(tmp_path):
    vae = table_vae()
    vae.compile("sgd", run_eagerly=True)
    found = vae.evaluate(pd.DataFrame(mapped(X, tmp_path)), verbose=0)
    assert found == vae.evaluate(X, verbose=0)
    np.testing.assert_allclose(
        vae.predict(pd.DataFrame(mapped(X, tmp_path)), verbose=0)["nll"], vae.predict(X, verbose=0)["nll"], rtol=1e-5
    )


def test_a_sparse_matrix_in_disorder():
    """Indices that are not sorted, as a product has them; entries that add up."""
    rows = scipy.sparse.csr_matrix((np.array([0.6, 0.6, 1.0]), np.array([3, 3, 0]), np.array([0, 3])), shape=(1, 6))
    found = sparse_rows(rows)
    assert sorted(found.distinct_values()) == [0.0, 1.0, 1.2]
    np.testing.assert_array_equal(np.asarray(found), rows.toarray())
    np.testing.assert_allclose(tf.sparse.to_dense(found.gather_sparse(np.array([0]))), rows.toarray(), rtol=1e-6)
    assert rows.nnz == 3, "the user's own is as it was"


@pytest.mark.parametrize("kind", ["csr", "mapped", "frame"])
def test_run_eagerly_it_is_the_same(kind, expected, tmp_path):
    """There arrays are a data set, as they are for several devices."""
    vae = table_vae()
    vae.compile("adam", run_eagerly=True)
    options = {**OPTIONS, "epochs": 1}
    np.testing.assert_allclose(vae.fit(KINDS[kind](X, tmp_path), **options).history["loss"], expected[0][:1], rtol=1e-5)


def test_a_dictionary_of_series_and_frames():
    frame = pd.DataFrame({"age": X[:, 0], "a": X[:, 1], "b": X[:, 2]})
    inputs = {"age": keras.Input((1,), name="age"), "blood": keras.Input((2,), name="blood")}
    encoder = keras.Model(inputs, IndependentNormal(2)(layers.Concatenate()(list(inputs.values()))))
    joint = keras_vae.layers.Joint({"age": IndependentNormal(1), "blood": IndependentNormal(2)})
    vae = keras_vae.VAE(encoder, keras.Sequential([joint]), seed=0)
    vae.compile("adam", jit_compile=False)
    x = {"age": frame["age"], "blood": frame[["a", "b"]]}
    vae.fit(x, validation_data=x, validation_freq=1, verbose=0)
    arrays = {"age": X[:, :1], "blood": X[:, 1:3]}
    np.testing.assert_array_equal(vae.log_likelihood(x, 3, 50, 0, seed=0), vae.log_likelihood(arrays, 3, 50, 0, seed=0))
    np.testing.assert_array_equal(vae.encode(x).mean(), vae.encode(arrays).mean())


def test_integers_and_booleans_train():
    for x in (X > 0, (10 * X).astype("int64"), pd.DataFrame(X > 0)):
        assert np.isfinite(table_vae().fit(x, verbose=0).history["loss"]).all()


def test_what_is_not_available_is_missing():
    """In pandas' own types and in masked arrays."""
    frame = pd.DataFrame({"a": [1, None, 3], "b": [None, 1.5, 2.0]}).convert_dtypes()
    expected = [[1.0, np.nan], [np.nan, 1.5], [3.0, 2.0]]
    np.testing.assert_array_equal(intake.taken_in(frame), expected)
    np.testing.assert_array_equal(intake.taken_in(np.ma.masked_invalid(expected)), expected)
    np.testing.assert_array_equal(intake.taken_in(np.ma.masked_equal([1, 2], 2)), [1.0, np.nan])


def test_text_among_the_columns_is_named():
    frame = pd.DataFrame({"age": [1.0, 2.0], "city": ["Bern", "Basel"]})
    with pytest.raises(ValueError, match=r"Expected x, a data frame, to hold numbers; .* 'city' \(1 of 2"):
        table_vae().fit(frame, verbose=0)


def test_lists_of_several_lengths():
    with pytest.raises(ValueError, match="Expected x, nested lists, to be one array of numbers"):
        table_vae().fit([[1.0, 2.0], [3.0]], verbose=0)


def test_a_list_of_arrays_is_an_x_of_several_parts():
    parts = intake.taken_in([X, [[1.0], [2.0]]])
    assert [part.shape for part in parts] == [(50, 6), (2, 1)]


def test_ragged_x_is_refused_with_what_to_do():
    ragged = tf.ragged.constant([[1.0, 2.0], [3.0]])
    for x in (ragged, tf.data.Dataset.from_tensors(ragged)):
        with pytest.raises(ValueError, match=r"Expected x to be dense.*x\.to_tensor\(float\('nan'\), .*Masked"):
            table_vae().fit(x, verbose=0)


# Sparse arrays.


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, lambda x: tf.sparse.from_dense(x)], ids=["scipy", "tf"])
def test_rows_of_a_sparse_array(make):
    rows = sparse_rows(make(X))
    np.testing.assert_array_equal(np.asarray(rows), X)
    numbers = np.array([[3, 0], [49, 3]])
    np.testing.assert_array_equal(rows.gather(numbers), X[numbers])
    np.testing.assert_array_equal(tf.function(rows.gather)(tf.constant(numbers)), X[numbers])
    np.testing.assert_array_equal(tf.sparse.to_dense(rows.gather_sparse(numbers[0])), X[numbers[0]])
    np.testing.assert_array_equal(rows[10:20], X[10:20])
    assert len(rows[50:60]) == 0
    assert set(rows.distinct_values()) == set(X.ravel())


def test_sparse_images_keep_their_shape():
    images = X[:48].reshape(8, 2, 3, 6)
    rows = sparse_rows(tf.sparse.from_dense(images))
    np.testing.assert_array_equal(rows.gather(np.array([7, 1])), images[[7, 1]])
    np.testing.assert_array_equal(np.asarray(rows[2:4]), images[2:4])


def test_counts_of_many_genes_are_never_dense_all_at_once(monkeypatch):
    """100,000 x 2,000 numbers would be 800 MB: nothing of more than a block is made dense."""
    counts = scipy.sparse.random_array((100_000, 2_000), density=1e-4, format="csr", random_state=0)
    counts.data[:] = 1.0 + np.floor(3 * counts.data)
    largest = []
    gather = SparseRows.gather

    def watched(self, numbers):
        largest.append(np.size(numbers))
        return gather(self, numbers)

    monkeypatch.setattr(SparseRows, "gather", watched)
    monkeypatch.setattr(SparseRows, "__array__", None)
    encoder = keras.Sequential([layers.Dense(2), IndependentNormal(1)])
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentPoisson(2_000)]))
    vae.compile("adam", jit_compile=False)
    vae.fit(counts, batch_size=128, steps_per_epoch=8, verbose=0)
    assert 0 < max(largest) * 2_000 * 4 <= 2**25
    bad = counts.copy()
    bad.data[7] = -1.0
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"IndependentPoisson scores .*; received -1\.0 at position \[\d+, \d+\]"):
        vae.fit(bad, verbose=0)


class TakesSparse(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        words = tf.sparse.to_dense(x["words"]) if isinstance(x["words"], tf.SparseTensor) else x["words"]
        return self.dense(keras.ops.concatenate([x["image"], words], -1))


@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_sparse_part_that_is_not_scored_stays_sparse_and_auto_sees_it(as_dataset, caplog):
    seen = []

    class Looks(TakesSparse):
        def call(self, x):
            seen.append(type(x["words"]))
            return super().call(x)

    encoder = keras.Sequential([Looks(), IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal(6)]), target="image", seed=0)
    vae.compile("adam")
    x = {"image": X, "words": tf.sparse.from_dense(X)}
    if as_dataset:
        x = tf.data.Dataset.from_tensor_slices(x).batch(16)
    vae.fit(x, epochs=2, batch_size=None if as_dataset else 16, verbose=0)
    assert tf.SparseTensor in seen
    assert "a part of x is sparse" in vae.compilation
    assert "stepping one by one" in caplog.text
    assert np.isfinite(vae.evaluate(x, verbose=0, return_dict=True)["loss"])


def test_what_is_asked_meanwhile_changes_nothing_in_how_a_fit_is_compiled():
    """Validation data that are dense beside sparse ones that are trained on; and a callback that asks."""
    encoder = keras.Sequential([TakesSparse(), IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal(6)]), target="image", seed=0)
    vae.compile("adam")
    dense = {"image": X, "words": X}
    sparse = {"image": X, "words": scipy.sparse.csr_array(X)}
    ask = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: vae.transform(dense, verbose=0))
    vae.fit(sparse, validation_data=dense, epochs=2, callbacks=[ask], verbose=0)
    assert "a part of x is sparse" in vae.compilation


# Files.


def test_a_mapped_file_is_read_by_rows(tmp_path, monkeypatch):
    from keras_vae.engine import arrays

    x = mapped(X, tmp_path)
    sizes = []
    as_tensor = arrays.as_tensor
    monkeypatch.setattr(arrays, "as_tensor", lambda array: sizes.append(np.shape(array)) or as_tensor(array))
    table_vae().fit(x, batch_size=4, epochs=2, verbose=0, steps_per_epoch=2)
    assert sizes and all(np.prod(shape[:-1]) <= 8 for shape in sizes)


# What is likely to go wrong.


def test_columns_that_lie_orders_of_magnitude_apart_are_named():
    frame = pd.DataFrame(X.copy(), columns=["hue", "ash", "proline", "c", "d", "e"])
    frame["proline"] = 750.0 + 100 * X[:, 2]
    frame["hue"] *= 0.01
    message = r"orders of magnitude apart, from 'hue' .* to 'proline' \(7.*Normalization"
    with pytest.warns(UserWarning, match=message) as warned:
        vae = table_vae()
        vae.fit(frame, verbose=0)
        vae.fit(frame, verbose=0)  # said before the first training alone
    assert len(said_by_us(warned)) == 1


def test_where_columns_are_named_by_number():
    assert magnitudes.advice_on_size(X, "x", magnitudes_support()) is None
    advice = magnitudes.advice_on_size(1e4 * X, "x", magnitudes_support())
    assert advice.startswith("columns of x are as large as column ")
    with_nan = np.where(X > 0.5, np.nan, 1e4 * X)
    assert magnitudes.advice_on_size(with_nan, "x", magnitudes_support()).startswith("columns of x are")
    assert magnitudes.advice_on_size(np.full((3, 2), np.nan), "x", magnitudes_support()) is None


def magnitudes_support():
    return keras_vae.layers.Support("IndependentNormal", "real numbers")


@pytest.mark.parametrize("as_dataset", [False, True])
def test_pixels_in_0_to_255_as_floats_get_the_advice_that_bytes_get(as_dataset):
    x = np.round(255 * RNG.uniform(size=(20, 8, 8, 1))).astype("float32")
    x[:, 0, 0] = 255.0
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices(x).batch(10) if as_dataset else x
    with pytest.warns(UserWarning, match=r"x holds numbers up to 255.*Pixels in 0..255\? Scale them: x.astype"):
        vae.fit(data, verbose=0)
    vae.evaluate(data, verbose=0)


def test_a_y_of_x_s_own_shape_is_not_scored_and_that_is_said():
    noisy = X + 0.1
    for data in ({"x": noisy, "y": X}, {"x": tf.data.Dataset.from_tensor_slices((noisy, X)).batch(16)}):
        with pytest.warns(UserWarning, match=r"y has the shape of x, \(6,\), and is ignored: a VAE scores x itself"):
            table_vae().fit(**data, verbose=0)
    table_vae().fit(X, X, verbose=0)  # an autoencoder's habit, and the same
    table_vae().fit(tf.data.Dataset.from_tensor_slices((X, X)).batch(16), verbose=0)
    table_vae().fit(X, X[:, :3], verbose=0)


def test_a_denoising_vae_sees_the_noisy_and_scores_the_clean():
    noisy = keras.Input((6,), name="noisy")
    encoder = keras.Model({"noisy": noisy}, IndependentNormal(2)(layers.Dense(5, "tanh")(noisy)))
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal(6)]), target="clean", seed=0)
    vae.compile("adam", jit_compile=False)
    vae.fit({"noisy": X + 0.1, "clean": X}, verbose=0)
    np.testing.assert_allclose(vae.encode({"noisy": X}).mean(), encoder({"noisy": X}).mean(), rtol=1e-4, atol=1e-6)
    assert vae.reconstruct({"noisy": X}).shape == (50, 6)
    means = vae.transform({"noisy": X, "clean": X}, verbose=0)
    np.testing.assert_array_equal(vae.transform({"noisy": X}, verbose=0), means)
    for ask in (vae.predict, vae.log_likelihood, vae.evaluate):
        with pytest.raises(ValueError, match=r"Expected x to have the part 'clean', which `target` says is scored"):
            ask({"noisy": X}, verbose=0)


def test_parts_of_different_lengths():
    vae = two_parts_vae()
    for ask in (vae.fit, vae.evaluate, vae.predict, vae.transform, vae.log_likelihood):
        with pytest.raises(ValueError, match=r"Expected x to hold as many examples in each of its parts; .* \[50, 7\]"):
            ask([X, X[:7, :2]], verbose=0)


def test_a_column_of_dates():
    frame = pd.DataFrame({"age": [1.0, 2.0], "born": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    with pytest.raises(ValueError, match=r"received columns of dates or times, such as 'born'"):
        table_vae().fit(frame, verbose=0)


def two_parts_vae():
    inputs = [keras.Input((6,)), keras.Input((2,))]
    encoder = keras.Model(inputs, IndependentNormal(2)(layers.Concatenate()(inputs)))
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal(6)]))
    vae.compile("sgd", jit_compile=False)
    return vae


def test_two_parts_that_keras_takes_for_x_and_y():
    vae = two_parts_vae()
    with pytest.raises(ValueError, match=r"Expected validation x to have 2 parts.*\(\[a, b\],\)"):
        vae.fit([X, X[:, :2]], validation_data=[X, X[:, :2]], verbose=0)
    assert vae.optimizer.iterations == 0
    vae.fit([X, X[:, :2]], validation_data=([X, X[:, :2]],), verbose=0)


def test_a_sequential_encoder_of_an_x_of_several_parts():
    encoder = keras.Sequential([layers.Flatten(), IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal(6)]), target="image")
    vae.compile("sgd")
    message = r"which has the parts \['image', 'label'\]: `target` says what is scored"
    with pytest.raises(ValueError, match=message):
        vae.fit({"image": X, "label": X}, verbose=0)


@pytest.mark.parametrize("is_built", [True, False])
def test_one_image_without_a_batch_axis_is_met_by_the_words_of_fit(is_built):
    vae = gaussian_vae()
    image = RNG.integers(0, 255, size=(8, 8, 1)).astype("uint8")
    if is_built:
        vae.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match=r"decoder's event shape, \(8, 8, 1\); .*Are these single examples\?"):
        vae.encode(image)
    vae.encode(image[None])


def test_a_stream_is_asked_for_its_latents_by_transform():
    vae = table_vae()
    vae.fit(X, verbose=0)
    for ask in (vae.encode, vae.reconstruct):
        for stream in (tf.data.Dataset.from_tensor_slices(X).batch(10), (x for x in X)):
            with pytest.raises(ValueError, match=r"Expected x to be arrays.*vae\.transform\(x\)"):
                ask(stream)


def test_class_weights_are_weights_of_examples():
    y = np.arange(50) % 2
    weighted = table_vae().fit(X, y, class_weight={0: 1.0, 1: 3.0}, **OPTIONS).history["loss"]
    expected = table_vae().fit(X, sample_weight=np.where(y, 3.0, 1.0), **OPTIONS).history["loss"]
    np.testing.assert_array_equal(weighted, expected)
    with pytest.raises(ValueError, match=r"and no other weights; received .* sample_weight, too"):
        table_vae().fit(X, y, class_weight={0: 1.0}, sample_weight=np.ones(50), verbose=0)


def test_frames_with_holes_under_masked():
    frame = pd.DataFrame(np.where(X == 0, np.nan, X))
    encoder = keras.Sequential([Impute(), IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([Masked(IndependentNormal(6))]))
    vae.compile("adam", jit_compile=False)
    with pytest.warns(UserWarning, match="of which nothing was observed"):
        vae.fit(frame, verbose=0)
        assert np.isfinite(vae.log_likelihood(frame, 3, verbose=0)).all()
