"""What TensorBoard's embedding projector shows: points, what each is called, and what it looks like."""

import os

import tensorflow as tf

FOLDER = "projector"  # within a run's


def write(run, name, points, labels=None, sprite=None):
    """Writes points for the projector, in place of those that the run had before.

    Args:
        run: the run's folder.
        name: of the points.
        points: `[N, D]`.
        labels: `[N]`, or None.
        sprite: a PNG's bytes and (width, height) of one thumbnail in it, or None.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    tf.io.gfile.makedirs(os.path.join(run, FOLDER))
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(tensor_name=name, tensor_path=f"{FOLDER}/points.tsv")
    replace(run, embedding.tensor_path, "".join("\t".join(f"{x:.6g}" for x in point) + "\n" for point in points))
    if labels is not None:
        embedding.metadata_path = f"{FOLDER}/labels.tsv"
        # One column has no heading; a label has no line of its own to break.
        texts = (label.decode(errors="replace") if isinstance(label, bytes) else str(label) for label in labels)
        words = (text.translate({ord(mark): " " for mark in "\t\r\n"}) for text in texts)
        replace(run, embedding.metadata_path, "".join(f"{word}\n" for word in words))
    if sprite is not None:
        image, size = sprite
        embedding.sprite.image_path = f"{FOLDER}/sprite.png"
        embedding.sprite.single_image_dim.extend(size)
        replace(run, embedding.sprite.image_path, image, mode="wb")
    replace(run, "projector_config.pbtxt", text_format.MessageToString(config))


def replace(run, name, content, mode="w"):
    """Writes a file beside its place and then puts it there: whoever reads meanwhile has a whole one."""
    path = os.path.join(run, name)
    with tf.io.gfile.GFile(f"{path}.new", mode) as file:
        file.write(content)
    tf.io.gfile.rename(f"{path}.new", path, overwrite=True)
