"""SKLearnVAE before scikit-learn's own referee: every check of an estimator passes, and none is expected to fail."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_vae.wrappers import SKLearnVAE

# What fits soonest, with a layer of each kind.
SMALL = SKLearnVAE(latent_dim=2, units=(4,), epochs=1, batch_size=64, num_samples=20)

# No check is expected to fail.
EXPECTED_FAILED_CHECKS = {}

# Those that scikit-learn holds its own estimators to beside the others.
OF_TABLES = [
    "check_dataframe_column_names_consistency",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SMALL], expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS)
def test_checks_of_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", OF_TABLES)
def test_checks_of_tables_with_names(check):
    getattr(estimator_checks, check)("SKLearnVAE", SMALL)
