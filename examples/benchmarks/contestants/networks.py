"""The hidden layers, in Keras 3 or tf_keras: `layers` is the one's or the other's module."""


def encoder(workload, layers):
    """The encoder's hidden layers."""
    if not workload.convolutional:
        return [layers.Dense(width, workload.activation) for width in workload.hidden]
    return [
        layers.Conv2D(32, 3, activation="relu", strides=2, padding="same"),
        layers.Conv2D(64, 3, activation="relu", strides=2, padding="same"),
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
    ]


def decoder(workload, layers):
    """The decoder's hidden layers."""
    if not workload.convolutional:
        return [layers.Dense(width, workload.activation) for width in reversed(workload.hidden)]
    return [
        layers.Dense(7 * 7 * 64, activation="relu"),
        layers.Reshape((7, 7, 64)),
        layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same"),
        layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same"),
    ]


def output(workload, layers, activation=None):
    """The layer that gives the likelihood's parameters."""
    if workload.convolutional:
        return layers.Conv2DTranspose(1, 3, activation=activation, padding="same")
    return layers.Dense(workload.parameters * workload.event_size, activation)
