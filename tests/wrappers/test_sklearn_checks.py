"""SKLearnVAE before scikit-learn's own referee: every check of an estimator passes, and none is expected to fail."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_vae.wrappers import SKLearnVAE

# What fits soonest: half a second, a hundred times.
SMALL = SKLearnVAE(latent_dim=2, units=(), epochs=1, batch_size=64, num_samples=20)

# No check is expected to fail.
EXPECTED_FAILED_CHECKS = {}

# Those that scikit-learn holds its own estimators to beside the others.
OF_TABLES = [
    "check_dataframe_column_names_consistency",
    "check_set_output_transform",
    pytest.param("check_set_output_transform_pandas", marks=pytest.mark.slow),  # eight fits, and ten
    pytest.param("check_global_output_transform_pandas", marks=pytest.mark.slow),
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SMALL], expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS)
def test_checks_of_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")  # both are tried
@pytest.mark.parametrize("check", OF_TABLES)
def test_checks_of_tables_with_names(check):
    getattr(estimator_checks, check)("SKLearnVAE", SMALL)
