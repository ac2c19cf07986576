//! What is judged over several answers, and who is asked for what.

use super::super::ledger::{Ledger, Writer};
use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

const RUN: Run = Run { run: 7, batches: 1, batch_series: 1, metrics: 1 };

fn plan(targets: Vec<SocketAddr>, ledger: PathBuf) -> WatchPlan {
    let (prefix, log) = (String::new(), None);
    let (span, interval) = (Duration::from_millis(700), Duration::from_millis(5));
    WatchPlan { targets, prefix, ledger, log, span, interval, past: Duration::from_secs(30) }
}

/// Of a series of answers, asked for with this ledger before and after: flicker, gone, missing.
fn faults(answers: &[(&[&str], &[i64])]) -> [u64; 3] {
    let (seen, plan) = (Seen::default(), plan(Vec::new(), PathBuf::new()));
    let target = SocketAddr::from(([127, 0, 0, 1], 1));
    // Two processes that are asked in turn know of each other's answers.
    let mut both = [(); 2].map(|()| Watched::new(&plan, target, &seen, None));
    let mut ledger = Ledger::default();
    for (turn, (lines, times)) in answers.iter().enumerate() {
        let before = ledger.batches.get(&0).cloned().unwrap_or_default();
        lines.iter().for_each(|line| ledger.add(line).unwrap());
        let found = times.iter().map(|at| (*at, value_of(7, 0, *at))).collect();
        let (found, after) = (Found::from([(0, found)]), ledger.batches[&0].clone());
        let one = &mut both[turn % 2];
        one.run = RUN;
        one.judge(0, (&before, &after), &found, &seen.of(0, 0));
    }
    let sum = |of: fn(&Faults) -> u64| both.iter().map(|one| of(&one.faults)).sum();
    let count: u64 = sum(Faults::count);
    let [flicker, gone, missing] = [sum(|of| of.flicker), sum(|of| of.gone), sum(|of| of.missing)];
    assert_eq!(count, flicker + missing);
    [flicker, gone, missing]
}

#[test]
fn what_one_answer_had_all_later_ones_have_unless_an_attempt_at_it_has_failed() {
    let one = "try 0 10";
    assert_eq!(faults(&[(&[one], &[10]), (&[], &[10]), (&[], &[10])]), [0, 0, 0]);
    assert_eq!(faults(&[(&[one], &[]), (&[], &[10])]), [0, 0, 0]);
    assert_eq!(faults(&[(&[one], &[10]), (&[], &[])]), [1, 0, 0], "another process had it");
    let no = "no 0 10 11 1 503";
    assert_eq!(faults(&[(&[one], &[10]), (&[no], &[]), (&[], &[])]), [0, 1, 0]);
    let ok = "ok 0 10 11 1 204";
    assert_eq!(faults(&[(&[one], &[10]), (&[ok], &[])]), [1, 0, 0], "nobody failed meanwhile");
    assert_eq!(faults(&[(&[one], &[10]), (&[no, ok], &[])]), [0, 1, 0]);
    assert_eq!(faults(&[(&[one, ok], &[]), (&[], &[]), (&[], &[10])]), [0, 0, 1]);
}

/// Answers questions, each with no series, and says what was asked for; `is_deaf`: takes them and does not answer.
fn server(is_deaf: bool) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::sync_channel(10_000);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream);
        loop {
            let (mut first, mut line) = (String::new(), String::new());
            from.read_line(&mut first).unwrap();
            while from.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            if first.is_empty() || tell.send(first).is_err() {
                return;
            }
            if is_deaf {
                std::thread::park_timeout(Duration::from_secs(1));
                return;
            }
            let body = r#"{"status":"success","data":{"result":[]}}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            from.get_mut().write_all((head + body).as_bytes()).unwrap();
        }
    });
    (address, told)
}

#[test]
fn each_process_is_asked_for_each_batch_and_one_that_hangs_keeps_nobody_waiting() {
    let path = std::env::temp_dir().join(format!("cumae-watched-{}", std::process::id()));
    let writer = Writer::create(&path, Run { batches: 4, ..RUN }).unwrap();
    (0..4).for_each(|batch| writer.line(&format!("try {batch} 10\n")).unwrap());
    let (two, deaf) = ([server(false), server(false)], server(true));
    let targets = vec![two[0].0, deaf.0, two[1].0];
    let report = watch(&plan(targets.clone(), path.clone())).unwrap();
    assert_eq!(report["holds"], false, "who never answers is not forgotten: {report:#}");
    for (_, told) in &two {
        let all: Vec<String> = told.try_iter().collect();
        for batch in 0..4 {
            let of = format!("batch%3D%22{batch}%22");
            assert!(all.iter().filter(|line| line.contains(&of)).count() > 3, "{all:?}");
        }
    }
    let two = [server(false), server(false)];
    let report = watch(&plan(two.iter().map(|one| one.0).collect(), path.clone())).unwrap();
    assert_eq!(report["holds"], true, "{report:#}");
    std::fs::remove_file(&path).unwrap();
}
