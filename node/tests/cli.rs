//! The commands of the binary that do not serve.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

fn cumae(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cumae")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn help_and_version_go_to_stdout_and_say_what_a_newcomer_needs() {
    let help = cumae(&["--help"]);
    assert!(help.status.success());
    for word in ["remote_write", "/api/v1/push", "--data-dir", "config print", "127.0.0.1:9009"] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert!(stdout(&cumae(&["--version"])).starts_with("cumae 0."));
    assert_eq!(cumae(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn what_config_print_prints_config_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cumae.yaml");
    let printed = cumae(&["config", "print", "--listen", "127.0.0.1:1234"]);
    assert!(stdout(&printed).contains("listen: \"127.0.0.1:1234\""));
    std::fs::write(&path, printed.stdout).unwrap();
    let checked = cumae(&["config", "check", "--config", path.to_str().unwrap()]);
    assert!(checked.status.success(), "{checked:?}");
    std::fs::write(&path, "nonsense: 1\nroles: [cook]\n").unwrap();
    let refused = cumae(&["config", "check", "--config", path.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("nonsense: ") && told.contains("roles: "), "{told}");
}

#[test]
fn the_files_in_deploy_are_configurations_that_start() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut seen = 0;
    for directory in ["cluster", "cassandra", "cassandra/compose"] {
        for entry in std::fs::read_dir(deploy.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("compose.yaml") {
                continue;
            }
            let checked = cumae(&["config", "check", "--config", path.to_str().unwrap()]);
            assert!(checked.status.success(), "{}: {checked:?}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 9);
}

#[test]
fn the_compose_file_starts_what_its_configurations_name() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cassandra");
    let text = std::fs::read_to_string(deploy.join("compose.yaml")).unwrap();
    let compose: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let services = compose["services"].as_object().unwrap();
    let address = |service: &str| {
        let network = &services[service]["networks"]["cumae"]["ipv4_address"];
        network.as_str().unwrap_or_else(|| panic!("{service} has no address")).to_owned()
    };
    for entry in std::fs::read_dir(deploy.join("compose")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(services[name]["command"][1].as_str().unwrap().ends_with(&format!("/{name}.yaml")));
        for number in [1, 2, 3] {
            let node = address(&format!("cassandra-{number}"));
            assert_eq!(text.contains(&node), name.starts_with("ingester"), "{name}: {node}");
        }
        let found: Vec<_> = ["ingester-1", "ingester-2"]
            .map(address)
            .into_iter()
            .filter(|at| text.contains(&format!("{at}:9010")))
            .collect();
        assert_eq!(found.len(), if name.starts_with("ingester") { 1 } else { 2 }, "{name}");
        if name.starts_with("ingester") {
            assert_eq!(found[0], address(name));
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command with a text on its stdin.
fn cumae_reading(args: &[&str], text: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_cumae"))
        .args(args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn promql_fmt_and_parse_print_the_query_laid_out_and_as_a_tree() {
    let long = "sum by(job)(rate(http_requests_total{code=~\"5..\",job!=\"a\"}[5m]))/sum by(job)(rate(http_requests_total[5m]))>0.01";
    let laid_out = cumae(&["promql", "fmt", long]);
    assert!(laid_out.status.success());
    let text = stdout(&laid_out);
    assert!(
        text.lines().count() > 5 && text.contains("\n/\n") || text.contains("\n  /\n"),
        "{text}"
    );
    // What is laid out is the same query, from stdin too.
    let again = cumae_reading(&["promql", "fmt"], &text);
    assert_eq!(stdout(&again), text);

    let tree = cumae(&["promql", "parse", "-foo offset 5m"]);
    let tree: serde_json::Value = serde_json::from_str(&stdout(&tree)).unwrap();
    assert_eq!((&tree["type"], &tree["op"]), (&"unaryExpr".into(), &"-".into()));
    assert_eq!((&tree["expr"]["name"], &tree["expr"]["offset"]), (&"foo".into(), &300_000.into()));
}

#[test]
fn a_query_that_does_not_parse_has_a_caret_under_the_place_that_line_and_column_name() {
    for command in ["fmt", "lint", "parse"] {
        let refused = cumae_reading(&["promql", command, "-"], "sum(\n  foo{a=\"b\"} bar)\n");
        assert_eq!(refused.status.code(), Some(1));
        let told = stderr(&refused);
        assert!(told.starts_with("cumae: 2:14: parse error: "), "{told}");
        assert!(told.contains("\n    foo{a=\"b\"} bar)\n               ^^^\n"), "{told}");
    }
}

#[test]
fn promql_lint_names_rule_and_place_and_fails_if_it_finds_something() {
    let found = cumae(&["promql", "lint", "1 + rate(up{job=~\"a\"}[5m])"]);
    assert_eq!(found.status.code(), Some(1));
    let told = stdout(&found);
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("1:5: counter-name: rate() is for counters, and up is not"),
        "{told}"
    );
    assert_eq!(lines[2], format!("  {}{}", " ".repeat(4), "^".repeat(22)));
    assert!(lines[3].starts_with("1:10: literal-regex: job=~\"a\" is no pattern: write job=\"a\""));
    assert_eq!(stderr(&found), "cumae: 2 findings\n");
    assert!(!told.contains('\x1b'), "no colours where no terminal is");
    let good = cumae(&["promql", "lint", "sum(rate(x_total[5m]))"]);
    assert!(good.status.success() && stdout(&good).is_empty());
}

#[test]
fn test_runs_scripts_and_tells_file_line_expected_and_got_of_each_failure() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let load = "load 1m\n  x_total{job=\"a\"} 0+60x10\n  x_total{job=\"b\"} 0+120x10\n\n";
    let good = "eval instant at 10m sum(rate(x_total[5m]))\n  {} 3\n";
    let bad = "\neval instant at 10m sum by (job) (rate(x_total[5m]))\n  {job=\"a\"} 1\n  {job=\"b\"} 7\n\
               \neval instant at 10m sum(x_total\n  {} 1\n\
               \neval range from 0 to 2m step 1m x_total{job=\"a\"}\n  x_total{job=\"a\"} 0 60\n";
    let passing = write("good.test", &format!("{load}{good}"));
    let passed = cumae(&["test", &passing]);
    assert!(passed.status.success(), "{passed:?}");
    assert_eq!(stdout(&passed), format!("{passing}: 1 passed\n"));

    let failing = write("bad.test", &format!("{load}{good}{bad}"));
    let failed = cumae(&["test", &passing, &failing]);
    assert_eq!(failed.status.code(), Some(1));
    let told = stdout(&failed);
    let expected = format!(
        "{failing}:8: failed\n  sum by (job) (rate(x_total[5m]))\n  {{job=\"b\"}}\n  expected: 7\n  got:      2\n"
    );
    assert!(told.contains(&expected), "{told}");
    let expected = format!(
        "{failing}:12: failed\n  sum(x_total\n             ^\n  expected: {{}} 1\n  \
         got:      1:12: parse error: unclosed left parenthesis\n"
    );
    assert!(told.contains(&expected), "{told}");
    let expected = format!(
        "{failing}:15: failed\n  x_total{{job=\"a\"}}\n  x_total{{job=\"a\"}}\n  expected: 0 at 0 ms\n            60 at 60000 ms\n  got:      0 at 0 ms\n            60 at 60000 ms\n            120 at 120000 ms\n"
    );
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains(&format!("{passing}: 1 passed\n")), "{told}");
    assert!(told.ends_with(&format!("{failing}: 1 passed, 3 failed\n")), "{told}");
    assert_eq!(stderr(&failed), "cumae: 3 of 5 cases failed, and 0 files could not be read\n");

    let broken = write("broken.test", "load 1m\n  x{job=a} 1\n");
    let refused = cumae(&["test", &broken, &passing]);
    assert_eq!(refused.status.code(), Some(1));
    let told = stdout(&refused);
    assert!(told.starts_with(&format!("{broken}:2:9: ")), "{told}");
    assert!(told.contains("\n    x{job=a} 1\n          ^\n"), "{told}");
    let nothing = cumae(&["test", &write("empty.test", "clear\n")]);
    assert_eq!(stderr(&nothing), "cumae: there is no case in these files\n");
}

#[test]
fn store_simulate_tells_what_each_strategy_costs() {
    // The golden figures of unified compaction: 64 flushes of 100 MiB with Cassandra's sizes.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cumae.yaml");
    let sizes = "flush_size: 100MiB, target_sstable_size: 1GiB, min_sstable_size: 100MiB, \
                 scaling_parameters: T4";
    std::fs::write(&path, format!("store: {{compaction: {{{sizes}}}}}\n")).unwrap();
    let config = ["--config", path.to_str().unwrap()];
    let open = ["store", "simulate", "--flushes", "64", "--late-flushes", "0", "--open"];
    let told = stdout(&cumae(&[&open[..], &config].concat()));
    let rows: Vec<Vec<&str>> =
        told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let row = |name: &[&str]| rows.iter().find(|row| row.starts_with(name)).unwrap();
    assert_eq!(row(&["ucs", "T4"])[2..], ["4.00", "9", "8000", "19200", "0", "4"]);
    assert_eq!(row(&["stcs"])[1..], row(&["ucs", "T4"])[2..], "a preset of the same");
    assert_eq!(row(&["ucs", "L10"])[3], "2", "what a read opens");
    assert_eq!(rows.len(), 9, "{told}");

    let asked = stdout(&cumae(&[&open[..], &config, &["--strategy", "ucs"]].concat()));
    assert_eq!(asked.lines().count(), 2, "{asked}");
    assert!(asked.lines().last().unwrap().starts_with("ucs T4 "), "{asked}");
    for wrong in [["--strategy", "dtcs"], ["--flush-size", "0"], ["--flush-size", "2TiB"]] {
        let refused = cumae(&[&["store", "simulate"], &wrong[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
    }
    assert!(stdout(&cumae(&["store", "simulate", "--help"])).contains("Example: "));
}
