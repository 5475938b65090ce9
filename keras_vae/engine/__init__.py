"""How steps run: a model gives its data to `Engine` as `Feed`s, and its methods become programs as a `query`.

    data -> Feed -> elements -> step function -> logs

A *batch* is what one step takes. A *block* is several batches, one after another, that one program runs through. The
*rest* is the short batch that ends an epoch. `blocks` runs them on one device, `replicas` on several.
"""

from keras_vae.engine.engine import Engine
from keras_vae.engine.feeding import Feed, split_off_validation
from keras_vae.engine.queries import query

__all__ = ["Engine", "Feed", "query", "split_off_validation"]
