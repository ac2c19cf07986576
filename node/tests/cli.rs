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
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/cluster");
    let mut seen = 0;
    for entry in std::fs::read_dir(deploy).unwrap() {
        let path = entry.unwrap().path();
        let checked = cumae(&["config", "check", "--config", path.to_str().unwrap()]);
        assert!(checked.status.success(), "{}: {checked:?}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 3);
}
