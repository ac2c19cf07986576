//! A peer that takes nothing, and a lane that has no room.

use super::*;

#[tokio::test]
async fn a_peer_that_takes_no_answers_does_not_hold_up_the_end() {
    let (listener, address) = listen().await;
    let mut ours = parts("n0", "s", address);
    ours.config = Arc::new(PeerConfig { silence_max_ms: 300, ..(*ours.config).clone() });
    let server = serve_as(ours, listener, Echo { samples: 4_000_000, ..Echo::open() });
    let mut stream = connect(address).await;
    let payload = Request::Select(context(0), selection()).encode();
    let ask = Frame { kind: FrameKind::Request, number: 1, payload };
    write_frame(&mut stream, &ask).await.unwrap();
    // The answer has begun, and nobody takes the rest of it.
    assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
    let end = tokio::time::timeout(std::time::Duration::from_secs(20), server.end()).await;
    assert!(end.is_ok(), "the server waits for who reads nothing");
}

#[tokio::test]
async fn a_lane_that_is_full_is_not_silent() {
    let gate = Arc::new(Semaphore::new(0));
    let (listener, address) = listen().await;
    let quick = |mut parts: PeerParts| {
        let config = PeerConfig { ping_ms: 50, silence_max_ms: 300, ..(*parts.config).clone() };
        parts.config = Arc::new(config);
        parts
    };
    let replica = Echo { gate: gate.clone(), ..Echo::open() };
    let server = serve_as(quick(parts("n0", "s", address)), listener, replica);
    let client = client_as(quick(parts("n1", "s", address)));
    let writes: Vec<_> = (0..30).map(|_| tokio::spawn(client.write(mutation(0)))).collect();
    tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    for write in writes {
        assert!(write.await.unwrap().is_ok());
    }
    client.close().await;
    server.end().await;
}
