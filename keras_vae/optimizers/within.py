"""Which optimizers there are within one."""


def main_optimizer(optimizer):
    """The optimizer that counts the steps and has the learning rate: the innermost one, under loss scaling say."""
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer


def optimizers_within(optimizer):
    """An optimizer and all that are within it, a list."""
    parts = [*getattr(optimizer, "others", ())]
    if main_optimizer(optimizer) is not optimizer:
        parts.append(optimizer.inner_optimizer)
    return [optimizer, *(each for part in parts for each in optimizers_within(part))]
