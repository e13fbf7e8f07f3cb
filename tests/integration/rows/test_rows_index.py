"""Which tests prove which requirement? A table for the reader, and a test that it names tests that exist.

A test is named by file and function; `make e2e` runs those of e2e, `make integration` those of tests/integration.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
A = "tests/integration/rows/test_rows_a.py"
B = "tests/integration/rows/test_rows_b.py"
C = "tests/integration/rows/test_rows_c.py"
BAD = "tests/integration/rows/test_rows_bad_input.py"
PROCESSES = "tests/integration/test_agent_processes.py"
MANIFESTS = "tests/unit/operator_resources/test_manifests.py"
REFUSALS = "tests/integration/test_crd_refusals.py"
ARGUMENTS = "tests/unit/sdk_trainer/test_trainer_arguments.py"
SCALING = "tests/unit/sdk_trainer/test_scaling_config.py"
SOURCES = "tests/unit/sdk_data/test_data_sources.py"
TELLING = "tests/unit/sdk_trainer_k8s/test_k8s_telling.py"
LOOP = "tests/integration/test_operator_loop.py"
INSTALL = "tests/integration/chart/test_chart_install.py"
RENDER = "tests/integration/chart/test_chart_render.py"
STORES = "e2e/test_stores.py"
TENSORFLOW = "tests/frameworks/tensorflow/test_tensorflow_training.py"
KERAS = "tests/frameworks/tensorflow/test_keras_callback.py"
KERAS_PODS = "e2e/test_tensorflow.py::test_two_pods_train_together_and_go_on_after_one_is_killed"
DIGITS = "e2e/test_digits.py"
TORCH = "tests/frameworks/torch/test_torch_pieces.py"
RANKS = "tests/frameworks/torch/test_torch_ranks.py"
LIGHTNING = "tests/frameworks/torch/test_lightning_pieces.py"
LIGHTNING_RUN = "tests/frameworks/torch/test_lightning_digits.py"
LIGHTNING_PODS = "e2e/test_failures.py::test_kill_9_of_a_training_process_resumes_from_the_last_checkpoint"
TORCH_GUIDES = "tests/frameworks/torch/test_torch_guides.py"

ROWS: dict[str, list[str]] = {
    # A. Training runs.
    "A1": [
        "e2e/test_python_api.py::test_fit_runs_on_two_nodes_and_returns_the_result_from_storage",
        "tests/integration/test_trainer_inside.py::"
        "test_every_worker_runs_the_function_as_its_rank_and_rank_0_goes_on_with_the_result",
        f"{RANKS}::test_a1_the_digits_example_learns",
    ],
    "A3": [
        "tests/unit/sdk_trainer/test_scaling_config.py::test_bad_values_are_refused_with_field_value_and_way_out",
        "tests/unit/sdk_trainer_k8s/test_k8s_manifest.py::test_the_manifests_of_a_run",
    ],
    "A10": [
        "tests/integration/test_trainer_local.py::test_a_failing_function_raises_with_rank_and_traceback",
        "e2e/test_python_api.py::test_a_failing_function_raises_with_its_rank_and_traceback",
    ],
    "A2": [f"{TENSORFLOW}::test_both_names_of_the_configuration_are_taken_and_never_together"],
    "A4": [
        f"{PROCESSES}::test_every_process_gets_its_ranks_and_all_succeed",
        f"{MANIFESTS}::test_ranks_are_those_of_the_first_process",
        f"{DIGITS}::test_the_example_succeeds_with_an_accuracy_that_means_something",  # all_reduce by env://
        f"{RANKS}::test_a4_each_worker_is_a_rank_of_one_group",
        f"{RANKS}::test_a4_the_loader_gives_each_rank_its_own_share",
        f"{RANKS}::test_a4_ddp_averages_the_gradients_of_all_ranks",
        f"{RANKS}::test_a4_fsdp2_shards_parameters_and_reduces_the_same_gradients",
        f"{TORCH}::test_a4_a_prepared_loader_keeps_all_but_its_sampler",
        f"{TORCH}::test_a4_a_loader_that_divides_its_data_itself_is_left_alone",
        f"{TORCH}::test_a4_the_session_copes_with_what_the_function_does_to_the_group",
        f"{TORCH}::test_a4_a_backend_that_cannot_work_is_refused",
    ],
    "A5": [
        f"{TENSORFLOW}::test_every_worker_has_a_tf_config_with_its_own_index",
        f"{TENSORFLOW}::test_two_workers_learn_and_no_epoch_is_lost_when_one_is_killed",
        f"{TENSORFLOW}::test_a_new_run_starts_from_its_checkpoint_under_mirrored_strategy",
        f"{MANIFESTS}::test_tf_config_lists_every_process_with_a_port_of_its_own",
        KERAS_PODS,
    ],
    "A6": [
        f"{RANKS}::test_a6_threads_are_those_of_the_workers_cpus",
        f"{A}::test_a6_omp_threads_are_the_cpus_of_a_worker_unless_set",
        "tests/unit/operator_resources/test_merge_and_quantity.py::test_threads_are_the_whole_cpus_of_a_worker",
        f"{MANIFESTS}::test_gpus_and_cpus_of_a_pod_are_those_of_its_workers",
    ],
    "A7": [f"{TORCH}::test_a7_the_device_follows_what_the_pod_sees"],
    "A8": [
        f"{TORCH}::test_a8_outside_a_worker_everything_is_that_of_one_process",
        f"{PROCESSES}::test_every_process_gets_its_ranks_and_all_succeed",
        "tests/unit/sdk_train/test_outside_a_worker.py::test_the_context_is_rank_0_of_1",
        "tests/unit/sdk_train/test_outside_a_worker.py::test_the_context_names_the_run",
    ],
    "A9": [
        "e2e/test_storage.py::test_a_plain_script_runs_unchanged",
        "e2e/test_tensorflow.py::test_a_plain_tensorflow_script_runs_unchanged",
        f"{MANIFESTS}::test_tf_config_lists_every_process_with_a_port_of_its_own",
    ],
    # B. Metrics and checkpoints.
    "B1": [
        f"{B}::test_b1_every_rank_reports_and_rank_0s_metrics_are_used",
        f"{B}::test_b1_metrics_only_reports_are_never_lost_and_cheap",
        "tests/integration/test_agent_reports.py::"
        "test_a_hundred_thousand_reports_are_all_kept_although_the_process_is_killed_right_after",
    ],
    "B2": [
        f"{B}::test_b2_plain_metrics_and_numpy_scalars_arrive_as_they_were",
        f"{B}::test_b2_what_is_no_plain_value_is_refused_with_the_way_out",
    ],
    "B3": [  # Keras comes with its framework
        f"{RANKS}::test_b3_torchmetrics_adds_up_all_ranks_and_rank_0_reports",
        f"{B}::test_b3_ranks_bring_their_losses_together_and_rank_0_reports_the_mean",
        f"{DIGITS}::test_the_example_succeeds_with_an_accuracy_that_means_something",
    ],
    "B4": [f"{B}::test_b4_every_report_is_in_json_csv_tensorboard_and_on_the_console"],
    "B5": [
        f"{B}::test_b5_processes_of_a_node_share_one_download_which_goes_with_its_last_user",
        f"{B}::test_b5_a_checkpoint_is_used_in_place_where_it_is_local_and_copied_where_it_is_not",
        "tests/integration/test_checkpoint_stores.py::test_a_checkpoint_is_read_in_every_way",
    ],
    "B6": [
        f"{B}::test_b6_after_a_restart_every_rank_gets_the_latest_committed_checkpoint",
        f"{B}::test_b6_a_new_run_starts_from_a_given_checkpoint",
        "e2e/test_failures.py::test_kill_9_of_a_training_process_resumes_from_the_last_checkpoint",
        "tests/crash/test_crash_matrix.py::test_no_crash_loses_or_damages_a_checkpoint",
    ],
    "B7": [
        f"{B}::test_b7_files_of_all_ranks_merge_into_one_checkpoint",
        f"{STORES}::test_every_checkpoint_is_there_and_whole",
    ],
    "B8": [
        f"{B}::test_b8_the_best_and_always_the_latest_are_kept",
        f"{B}::test_b8_bad_values_are_refused_where_they_are_written",
    ],
    "B9": [
        f"{B}::test_b9_a_result_tells_everything_that_a_run_left",
        "tests/integration/test_checkpoint_stores.py::test_a_result_is_read_from_its_path",
        "tests/integration/test_result_guide.py::test_the_guide_runs",
    ],
    "B10": [
        f"{STORES}::test_status_tells_what_lies_in_the_store",
        "e2e/test_named_checkpoints.py::test_status_tells_their_paths_and_another_job_resumes_from_one",
        f"{LOOP}::test_a_job_runs_to_success_with_its_result",
    ],
    # C. Storage.
    "C1": [
        f"{C}::test_c1_two_pods_store_everything_below_storage_path_and_name",
        f"{C}::test_c1_without_a_path_and_a_name_a_run_lies_in_the_home_directory_under_a_new_name",
    ],
    "C2": [
        f"{C}::test_c2_paceline_storage_is_the_default_and_an_explicit_path_wins",
        f"{C}::test_c2_paceline_local_cache_dir_moves_the_local_copy_of_a_run",
    ],
    "C3": [
        f"{C}::test_c3_a_run_lies_in_a_filesystem_object",
        f"{C}::test_c3_a_scheme_beside_a_filesystem_object_is_refused",
    ],
    "C4": [
        f"{C}::test_c4_the_options_of_an_s3_uri_lead_to_a_compatible_server",
        f"{C}::test_c4_unknown_query_key_is_refused",
    ],
    "C5": [
        f"{C}::test_c5_a_checkpoint_on_a_path_that_pods_do_not_share_is_an_error_that_names_the_cause",
        f"{C}::test_c5_metrics_alone_need_no_shared_storage",
    ],
    "C6": [f"{C}::test_c6_every_pod_proves_that_it_reaches_the_store_before_training_starts"],
    "C7": [
        f"{C}::test_c7_files_of_every_worker_go_to_storage_each_period_and_at_the_end",
        f"{C}::test_c7_files_go_along_with_a_checkpoint_and_by_default_not_at_all",
    ],
    "C8": [
        f"{C}::test_c8_the_layout_is_read_with_any_tool",
        f"{STORES}::test_the_rest_of_the_documented_layout_is_there",
    ],
    "C9": [
        f"{STORES}::test_every_checkpoint_is_there_and_whole",
        f"{STORES}::test_google_believed_the_mounted_key_and_refused_the_other",
        f"{STORES}::test_a_mistake_ends_the_job_with_a_reason_and_the_way_out",
        f"{STORES}::test_a_key_that_the_secret_lacks_is_waited_for",
        "e2e/test_storage.py::test_checkpoints_and_results_land_on_a_shared_volume",
        f"{MANIFESTS}::test_a_stores_secret_is_variables_or_for_google_a_file",
        f"{REFUSALS}::test_a_bad_manifest_is_refused_with_a_sentence",
    ],
    # E. TensorFlow and Keras.
    "E1": [
        f"{TENSORFLOW}::test_two_workers_learn_and_no_epoch_is_lost_when_one_is_killed",
        f"{TENSORFLOW}::test_a_new_run_starts_from_its_checkpoint_under_mirrored_strategy",
        KERAS_PODS,
    ],
    "E2": [
        f"{KERAS}::test_each_event_reports_what_was_asked_for",
        f"{TENSORFLOW}::test_the_checkpoint_is_what_the_guide_says",
    ],
    "E3": [
        f"{TENSORFLOW}::test_keras_3_trains_on_a_split_dataset_and_its_fit_is_refused_with_the_way_out",
        "tests/frameworks/tensorflow/test_data_tf.py::test_batches_are_tensors_and_feed_a_pipeline",
    ],
    # D. PyTorch Lightning.
    "D1": [
        f"{LIGHTNING}::test_d1_d2_ranks_devices_and_data_follow_the_run",
        f"{LIGHTNING}::test_d1_the_arguments_are_lightnings",
        f"{LIGHTNING}::test_d1_sharded_strategies_refuse_the_cpu",
    ],
    "D2": [
        f"{LIGHTNING}::test_d1_d2_ranks_devices_and_data_follow_the_run",
        LIGHTNING_PODS,
    ],
    "D3": [
        f"{LIGHTNING_RUN}::test_d2_d3_g1_lightning_goes_on_from_its_checkpoint_after_a_worker_was_killed",
        f"{LIGHTNING}::test_d3_metrics_are_plain_numbers_and_a_plain_script_goes_on_without_an_agent",
        f"{LIGHTNING}::test_d3_the_callback_may_be_a_base_and_be_copied",
    ],
    "D4": [f"{LIGHTNING}::test_d4_prepare_trainer_says_what_is_wrong_and_what_to_write"],
    "D5": [
        f"{LIGHTNING}::test_d5_each_package_gets_classes_of_its_own",
        f"{LIGHTNING}::test_d5_each_process_of_a_pod_has_a_gpu_of_its_own",
        LIGHTNING_PODS,
    ],
    "D6": [
        "tests/contract/test_docs_diffs.py::test_every_line_that_a_diff_leaves_is_in_the_example",
        f"{TORCH_GUIDES}::test_the_pytorch_guide_runs",
        f"{TORCH_GUIDES}::test_the_lightning_guide_runs",
        f"{RANKS}::test_a1_the_digits_example_learns",
    ],
    # H. The operator: of H3 and H4 what is built so far stands in the tests of the chart and of the operator.
    "H1": [
        f"{DIGITS}::test_its_pods_ran_on_different_nodes_with_the_gpus_they_asked_for",
        f"{DIGITS}::test_kubectl_get_tells_the_truth_at_every_moment",
        f"{MANIFESTS}::test_manifests_are_as_read_in_review",
    ],
    "H2": [
        f"{INSTALL}::test_an_upgrade_brings_the_new_crd_and_rolls_the_pods_for_a_new_configuration",
        f"{INSTALL}::test_an_upgrade_without_a_change_changes_nothing",
        "e2e/test_helm.py::test_an_upgrade_rolls_the_operator_while_a_job_runs",
        "tests/integration/test_crd_install.py::test_applying_it_again_changes_nothing",
    ],
    "H4": [
        "tests/integration/test_crd_install.py::test_kubectl_get_shows_phase_workers_step_checkpoint_restarts_and_age",
        f"{RENDER}::test_alerts_ask_for_metrics_that_the_operator_serves",
        f"{DIGITS}::test_kubectl_describe_tells_a_story",
    ],
    "H5": [
        f"{INSTALL}::test_a_cluster_wide_operator_reads_no_secret_and_a_namespaced_one_stays_at_home",
        f"{INSTALL}::test_the_deployment_gets_its_pod_in_a_restricted_namespace",
        f"{RENDER}::test_no_role_reads_secrets_or_has_a_wildcard",
        f"{RENDER}::test_workers_are_reached_by_workers_and_by_the_operator_only",
        f"{DIGITS}::test_no_secret_value_is_in_any_object_log_or_event",
    ],
}

BEFORE_TRAINING = f"{BAD}::test_what_the_store_refuses_is_told_before_training_and_what_lies_there_stays"
IN_A_REPORT = f"{BAD}::test_a_mistake_in_a_report_is_raised_there_and_nothing_before_it_is_lost"

BAD_INPUT: dict[str, list[str]] = {
    "scheme given with storage_filesystem": [
        f"{BAD}::test_a_scheme_with_a_filesystem_object_is_refused_with_the_path_to_write",
        "tests/integration/test_agent_reports.py::test_a_run_in_a_filesystem_object_resumes_in_it",  # by the agent too
    ],
    "unknown query key": [
        f"{BAD}::test_an_unknown_query_key_is_refused_with_the_known_ones",
        f"{C}::test_c4_unknown_query_key_is_refused",
        f"{REFUSALS}::test_a_bad_manifest_is_refused_with_a_sentence",
    ],
    "no such bucket": [BEFORE_TRAINING, "tests/integration/test_storage_gcs.py::"
                       "test_no_such_bucket_is_told_with_the_way_out"],
    "no permission to write": [
        BEFORE_TRAINING,
        f"{BAD}::test_a_directory_of_another_user_is_told_with_the_way_out_before_training",
        f"{BAD}::test_permission_lost_in_the_middle_ends_the_run_and_keeps_what_was_committed",
        f"{STORES}::test_a_mistake_ends_the_job_with_a_reason_and_the_way_out",  # a volume that is mounted read-only
    ],
    "wrong key": [
        BEFORE_TRAINING,
        f"{C}::test_c6_every_pod_proves_that_it_reaches_the_store_before_training_starts",
        "e2e/test_bad_input.py::test_a_wrong_s3_key_is_told_within_seconds_and_is_no_endless_restart",
    ],
    "clock skew": [
        BEFORE_TRAINING,
        "tests/integration/test_transfer_faults.py::test_a_wrong_clock_is_corrected_once",
        "tests/integration/test_transfer_faults.py::test_a_clock_that_cannot_be_corrected_is_told_in_words",
    ],
    "path traversal in file names": [
        f"{BAD}::test_a_file_name_that_leads_out_of_the_checkpoint_writes_nothing_here",
        f"{BAD}::test_a_commit_that_names_a_file_outside_writes_nothing_here",
    ],
    "path traversal in checkpoint_dir_name": [
        IN_A_REPORT,
        "tests/integration/test_agent_reports.py::test_a_name_that_cannot_be_is_refused_in_the_report",
    ],
    "a symlink loop": [IN_A_REPORT, "tests/unit/sdk_train/test_handover.py::"
                       "test_links_that_lead_to_other_directories_or_round_are_refused"],
    "tensors in metrics": [IN_A_REPORT, f"{B}::test_b2_what_is_no_plain_value_is_refused_with_the_way_out"],
    "NaN": [f"{BAD}::test_nan_and_infinity_are_kept_and_a_score_of_nan_is_the_worst"],
    "non-string keys": [IN_A_REPORT, f"{B}::test_b2_what_is_no_plain_value_is_refused_with_the_way_out"],
    "num_to_keep 0": [
        f"{BAD}::test_num_to_keep_below_one_is_refused_where_it_is_written_and_by_the_agent",
        f"{B}::test_b8_bad_values_are_refused_where_they_are_written",
    ],
    "a train function with two required arguments": [f"{ARGUMENTS}::test_functions_that_workers_cannot_call"],
    "a generator as train function": [f"{ARGUMENTS}::test_functions_that_workers_cannot_call"],
    "an unpicklable closure": ["tests/unit/sdk_trainer/test_task_file.py::test_what_cannot_be_pickled_is_named"],
    "wrong ScalingConfig keys": [f"{SCALING}::test_bad_values_are_refused_with_field_value_and_way_out"],
    "num_workers 0 or -1": [f"{SCALING}::test_bad_values_are_refused_with_field_value_and_way_out"],
    "GPU without GPUs": [
        "tests/integration/test_trainer_local.py::test_what_cannot_be_run_here_is_told_before_anything_starts",
        f"{TELLING}::test_what_hinders_the_job_is_told_once_with_the_way_out",  # a cluster's nodes may come later
    ],
    "datasets of an unknown format": [f"{SOURCES}::test_a_mistake_shows_before_anything_is_started"],
    "a missing extra": [
        f"{SOURCES}::test_without_pyarrow_the_extra_is_named_before_anything_is_started",
        "tests/unit/sdk_trainer_k8s/test_k8s_fit.py::"
        "test_without_the_extra_it_is_named_and_a_script_still_imports_and_trains_here",
        "tests/unit/sdk_torch/test_torch_config.py::"
        "test_a_missing_framework_is_an_import_error_with_the_extra_to_install",
        "tests/unit/sdk_tensorflow/test_tensorflow_mistakes.py::test_without_tensorflow_the_extra_is_named",
    ],
    "another Python version": [
        "tests/unit/sdk_trainer/test_task_file.py::test_the_header_is_read_before_anything_is_unpickled",
        "e2e/test_python_api.py::test_a_function_of_another_python_is_refused_without_a_restart",
    ],
    "a local path on several nodes": [
        f"{C}::test_c5_a_checkpoint_on_a_path_that_pods_do_not_share_is_an_error_that_names_the_cause",
        f"{REFUSALS}::test_a_bad_manifest_is_refused_with_a_sentence",
        f"{STORES}::test_a_mistake_ends_the_job_with_a_reason_and_the_way_out",
    ],
}  # fmt: skip


@cache
def functions_of(file: str) -> frozenset[str]:
    """Functions and methods whose name begins with `test_`, also in the classes of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


@pytest.mark.parametrize(("row", "proofs"), [*ROWS.items(), *BAD_INPUT.items()], ids=[*ROWS, *BAD_INPUT])
def test_every_test_that_the_table_names_exists(row: str, proofs: list[str]) -> None:
    assert proofs, f"{row} has no test"
    for proof in proofs:
        file, _, name = proof.partition("::")
        assert (ROOT / file).is_file(), f"{row}: there is no {file}"
        assert name in functions_of(file), f"{row}: {file} has no {name}"


def test_every_row_of_training_checkpoints_storage_and_frameworks_is_in_the_table() -> None:
    counts = {"A": 10, "B": 10, "C": 9, "D": 6, "E": 3}
    wanted = {f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)}
    assert wanted <= set(ROWS)


def _named_after_rows() -> Iterator[tuple[str, str]]:
    for file in (A, B, C):
        for name in sorted(functions_of(file)):
            yield name.split("_")[1].upper(), f"{file}::{name}"


@pytest.mark.parametrize(("row", "test"), list(_named_after_rows()))
def test_every_test_that_is_named_after_a_row_stands_in_its_line(row: str, test: str) -> None:
    assert test in ROWS[row]
