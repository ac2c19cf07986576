//! That each sentence of section 13 is a test, under its own name: what stands before a semicolon and
//! what stands behind it each have one.

use tests::process::workspace;
use tests::shared;

/// The tests, by the number of their sentence.
const TESTS: [&str; 17] = [
    "s1_a_series_written_by_v1_v2_otlp_and_text_import_under_the_same_labels_is_one_series",
    "s2_a_request_with_one_bad_sample_among_four_is_400_reports_three_written_and_the_three_are_readable",
    "s3_sending_a_request_twice_changes_nothing_and_both_answers_are_204_with_full_counts",
    "s4_with_two_of_three_replicas_gone_a_write_is_503_with_retry_after_and_after_they_return_the_retried_write_is_204",
    "s5_samples_sent_newest_first_or_an_hour_late_are_all_readable",
    "s6_application_x_protobuf_proto_io_prometheus_write_v2_request_with_a_blank_stores_its_samples",
    "s7_a_created_timestamp_in_either_layout_comes_back_the_same",
    "s8_a_stale_marker_ends_a_series_at_once_in_an_instant_query_through_every_replica_and_after_compaction",
    "s9_the_prometheus_compliance_receiver_suite_passes_whole",
    "s9_its_promql_queries_agree_with_prometheus_within_1e_5_with_no_tweaks",
    "s10_a_prometheus_gives_the_same_json_whether_it_reads_its_own_storage_or_with_read_recent_true_ours_by_remote_read_both_response_types",
    "s11_11_001_points_pass_and_11_002_do_not",
    "s12_every_answer_of_sections_4_and_10_under_p_api_v1_validates_against_the_openapi_document_of_prometheus_openapi_3_1_golden_yaml_beside_this_file_up_to_the_keys_marked_ours_and_the_paths_of_section_1_that_are_404_on_purpose",
    "s13_no_tenant_sees_another_s_label_names_values_metadata_exemplars_statistics_or_error_texts",
    "s14_a_snappy_block_that_declares_4_gib_is_refused_without_taking_memory",
    "s15_grafana_s_list_of_section_11_passes_on_an_empty_tenant",
    "s16_no_handler_answers_null_where_a_list_or_object_is_promised",
];

/// Where they are: the tenth needs a Prometheus.
const FILES: [&str; 8] = [
    "tests/tests/contracts.rs",
    "tests/tests/contracts/openapi.rs",
    "tests/tests/contracts/tenants.rs",
    "tests/tests/contracts/vectors.rs",
    "tests/tests/contracts/writing.rs",
    "tests/tests/cluster.rs",
    "tests/tests/conformance.rs",
    "distributor/src/routes/tests/version2.rs",
];
const RECEIVER: &str = "distributor/src/routes/tests/version2/receiver.rs";
const SCRIPT: &str = "tests/external/compare_remote_read.py";

#[test]
fn each_sentence_of_section_13_is_a_test_with_its_name() {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap();
    let mut there: Vec<String> = Vec::new();
    for file in FILES.into_iter().chain([RECEIVER]) {
        there.extend(tests_of(&read(file)));
    }
    let script = read(SCRIPT);
    let is_called = |name: &&&str| script.matches(&format!("{name}()")).count() == 2;
    there.extend(TESTS.iter().filter(is_called).map(|name| (*name).to_owned()));
    let run = read("tests/external/run");
    assert!(run.contains(SCRIPT), "the script is one of those that are run");
    for name in TESTS {
        assert_eq!(there.iter().filter(|it| *it == name).count(), 1, "{name}");
    }
}

/// The names of a file's tests.
fn tests_of(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_test = |line: &str| ["#[test]", "#[tokio::test]"].contains(&line);
    let name = |line: &str| {
        let name = line.trim_start_matches("async ").strip_prefix("fn ")?;
        name.split('(').next().map(str::to_owned)
    };
    lines.windows(2).filter(|two| is_test(two[0])).filter_map(|two| name(two[1])).collect()
}

#[test]
fn the_tests_are_named_as_the_contract_has_the_sentences() {
    let Some(folder) = shared::folder("api") else {
        println!("../shared/api IS MISSING: its sentences are not compared with the names here");
        return;
    };
    let text = std::fs::read_to_string(folder.join("CONTRACTS.md")).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with("13. ")).unwrap();
    let mut names = Vec::new();
    for line in section.lines().skip(1) {
        let Some((number, sentence)) = line.split_once(". ") else { continue };
        if number.parse::<u32>().is_ok() {
            names
                .extend(clauses(sentence).into_iter().map(|of| format!("s{number}_{}", slug(&of))));
        }
    }
    assert_eq!(names, TESTS);
}

/// A sentence cut at its semicolons, but not at those of code.
fn clauses(sentence: &str) -> Vec<String> {
    let mut clauses = vec![String::new()];
    let mut is_code = false;
    for letter in sentence.chars() {
        is_code ^= letter == '`';
        match letter {
            ';' if !is_code => clauses.push(String::new()),
            letter => clauses.last_mut().unwrap().push(letter),
        }
    }
    clauses
}

/// Letters and digits, and `_` for all that stands between them.
fn slug(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<String> =
        words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    words.join("_")
}
