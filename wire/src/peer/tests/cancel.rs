//! Who leaves before there is an answer.

use super::*;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until so many are in work beside the replica itself and this test.
async fn until_in_work(in_work: &Arc<()>, count: usize) {
    let look = async {
        while Arc::strong_count(in_work) != count + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let is_so = tokio::time::timeout(PATIENCE, look).await.is_ok();
    assert!(is_so, "in work: {} and not {count}", Arc::strong_count(in_work) - 2);
}

#[tokio::test]
async fn a_question_whose_asker_leaves_ends_at_the_peer_and_holds_up_no_other() {
    let (listener, address) = listen().await;
    let replica = Echo::behind(Arc::new(Semaphore::new(0)));
    let in_work = replica.in_work.clone();
    let server = serve(listener, replica);
    let client = client("s", address);
    // Eight are out at once.
    for round in 0..38 {
        let ask = |_| tokio::spawn(client.estimate(context(0), selection()));
        let askers: Vec<_> = (0..8).map(ask).collect();
        // Most leave while it is worked on, some before.
        if round % 3 > 0 {
            until_in_work(&in_work, 8).await;
        }
        for asker in askers {
            asker.abort();
            assert!(asker.await.unwrap_err().is_cancelled());
        }
        let asked = client.select(context(0), selection());
        let answer = tokio::time::timeout(PATIENCE, asked).await.expect("a slot is free");
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        until_in_work(&in_work, 0).await;
    }
    let error = client.estimate(context(30), selection()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
    until_in_work(&in_work, 0).await;
    assert!(client.is_up());
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_write_whose_sender_leaves_is_done_all_the_same() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = listen().await;
    let replica = Echo::behind(gate.clone());
    let (in_work, written) = (replica.in_work.clone(), replica.written.clone());
    let server = serve(listener, replica);
    let client = client("s", address);
    let first = tokio::spawn(client.write(mutation(0)));
    until_in_work(&in_work, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // Whatever was said of the first one comes before the second.
    let second = tokio::spawn(client.write(mutation(0)));
    until_in_work(&in_work, 2).await;
    gate.add_permits(1);
    assert!(second.await.unwrap().is_ok());
    until_in_work(&in_work, 0).await;
    assert_eq!(written.load(Ordering::Relaxed), 2);
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn who_cancels_what_was_answered_or_never_asked_is_served_on_and_a_number_is_used_once() {
    let (listener, address) = listen().await;
    let replica = Echo::behind(Arc::new(Semaphore::new(0)));
    let in_work = replica.in_work.clone();
    let server = serve(listener, replica);
    let mut stream = connect(address).await;
    let select = Request::Select(context(0), selection()).encode();
    let frame = |kind, number, payload: &[u8]| Frame { kind, number, payload: payload.to_vec() };
    for number in 1..4 {
        write_frame(&mut stream, &frame(FrameKind::Cancel, number, &[])).await.unwrap();
        write_frame(&mut stream, &frame(FrameKind::Request, number, &select)).await.unwrap();
        let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        assert_eq!((answer.kind, answer.number), (FrameKind::Last, number));
        write_frame(&mut stream, &frame(FrameKind::Cancel, number, &[])).await.unwrap();
    }
    let estimate = Request::Estimate(context(0), selection()).encode();
    for _ in 0..2 {
        write_frame(&mut stream, &frame(FrameKind::Request, 9, &estimate)).await.unwrap();
    }
    assert!(matches!(read_frame(&mut stream, FRAME_BYTES_MAX).await, Ok(None) | Err(_)));
    until_in_work(&in_work, 0).await;
    server.end().await;
}
