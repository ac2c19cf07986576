//! Whatever goes on for long waits until the processors have room for it.

use super::support::{Data, Server};
use model::TenantId;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn queries_exports_and_federation_wait_for_their_turn_if_they_go_on_for_long() {
    let mut data = Data::default();
    for number in 0..9 {
        data = data.series(&[("__name__", "m"), ("i", &number.to_string())], &[(0, 1.0)]);
    }
    for path in ["api/v1/query?query=sum(m)", "api/v1/export?match[]=m", "federate?match[]=m"] {
        let server = Server::slow(data.clone());
        let (other, alone) = (TenantId::parse("other").unwrap(), &server.lines.alone);
        let all = server.lines.processors;
        let taken: Vec<_> = (0..all).map(|_| alone.try_enter(&other, all).unwrap()).collect();
        let asked = tokio::spawn({
            let server = server.clone();
            async move { server.fetch(&format!("/{path}")).await }
        });
        for looked in 0.. {
            assert!(!asked.is_finished() && looked < 10_000, "{path} waits for nobody");
            if alone.waiting() > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(taken);
        let got = asked.await.unwrap();
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        assert!(!got.text().is_empty() && alone.waiting() == 0, "{path}");
    }
}
