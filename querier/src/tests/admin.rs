//! What changes the data that is stored: what is asked of the source, and what is refused.

use super::support::{Memory, NOW_MS, Server, form, one_tenant};
use crate::time_param::TIME_MIN;
use axum::body::Body;
use axum::http::Request;
use guard::{Limits, Tenancy};
use model::{DeleteRequest, Matcher, TimeRange, TimestampMs};
use std::sync::{Arc, Mutex};

type Deletes = Arc<Mutex<Vec<(String, DeleteRequest)>>>;

fn server(tenancy: Tenancy) -> (Server, Deletes, Arc<Mutex<Vec<String>>>) {
    let memory = Memory::default();
    let (deletes, purges) = (memory.deletes.clone(), memory.purges.clone());
    (Server::new(memory, tenancy, Limits::default()), deletes, purges)
}

fn range(start: TimestampMs, last_ms: i64) -> TimeRange {
    TimeRange { start, end: TimestampMs(last_ms + 1) }
}

#[tokio::test]
async fn a_delete_is_from_the_beginning_to_now_unless_it_says_otherwise() {
    let (server, deletes, _) = server(one_tenant());
    for prefix in ["", "/prometheus", "/api/prom"] {
        for method in ["POST", "PUT"] {
            let uri = format!("{prefix}/api/v1/admin/tsdb/delete_series?match[]=up");
            let request = Request::builder().method(method).uri(uri).body(Body::empty());
            let got = server.send(request.unwrap()).await;
            assert_eq!((got.status.as_u16(), got.text()), (204, ""));
        }
    }
    let up = vec![Matcher::equal("__name__", "up")];
    let whole = DeleteRequest {
        matcher_sets: vec![up.clone()],
        range: range(TIME_MIN, NOW_MS),
        revision_max: 0,
    };
    let asked: Vec<_> = deletes.lock().unwrap().drain(..).collect();
    assert_eq!(asked, vec![("default".to_owned(), whole); 6]);

    let later = ((NOW_MS + 5_000) / 1_000).to_string();
    let bounded =
        [("match[]", "up"), ("match[]", "{job=~\"a.+\"}"), ("start", "100"), ("end", &later)];
    assert_eq!(server.post("admin/tsdb/delete_series", &bounded).await.status, 204);
    let mut put =
        form("admin/tsdb/delete_series", &[("match[]", "up"), ("start", "1"), ("end", "2.5")]);
    *put.method_mut() = axum::http::Method::PUT;
    assert_eq!(server.send(put).await.status, 204);
    let asked: Vec<_> = deletes.lock().unwrap().drain(..).map(|(_, request)| request).collect();
    assert_eq!(asked[0].range, range(TimestampMs(100_000), NOW_MS), "never later than now");
    assert_eq!(asked[0].matcher_sets.len(), 2);
    assert_eq!(asked[1].range, range(TimestampMs(1_000), 2_500));
}

#[tokio::test]
async fn deleting_a_tenant_asks_for_every_series_up_to_now_and_for_a_purge_and_never_by_get() {
    let (server, deletes, purges) = server(one_tenant());
    let ask = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(format!("/purger/{path}"));
        server.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(ask("GET", "delete_tenant").await.status, 405);
    assert!(deletes.lock().unwrap().is_empty());
    let got = ask("POST", "delete_tenant").await;
    assert_eq!((got.status.as_u16(), got.text()), (200, ""));
    let whole = DeleteRequest {
        matcher_sets: vec![Vec::new()],
        range: range(TIME_MIN, NOW_MS),
        revision_max: 0,
    };
    assert_eq!(*deletes.lock().unwrap(), [("default".to_owned(), whole)]);
    assert_eq!(*purges.lock().unwrap(), ["default"]);
    let told = ask("GET", "delete_tenant_status").await;
    assert_eq!(told.text(), "{\"tenant_id\":\"default\",\"blocks_deleted\":true}");
}

#[tokio::test]
async fn a_delete_that_is_not_one_is_refused_and_nothing_is_asked() {
    let (server, deletes, purges) = server(one_tenant());
    let table: [(&[(&str, &str)], &str); 6] = [
        (&[], "no match[] parameter provided"),
        (&[("match[]", "{")], "invalid parameter \"match[]\": "),
        (&[("match[]", "{a=~\"(\"}")], "invalid parameter \"match[]\": "),
        (&[("match[]", "up"), ("match[]", "{}")], "invalid parameter \"match[]\": match[] must"),
        (&[("match[]", "up"), ("start", "x")], "invalid parameter \"start\": "),
        (&[("match[]", "up"), ("start", "2"), ("end", "1")], "invalid parameter \"end\": "),
    ];
    for (params, refusal) in table {
        let (status, kind, text) = server.post("admin/tsdb/delete_series", params).await.error();
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{params:?}");
        assert!(text.starts_with(refusal), "{text}");
    }
    for path in ["delete_series", "clean_tombstones"] {
        let got = server.get(&format!("admin/tsdb/{path}"), &[("match[]", "up")]).await;
        assert_eq!(got.status, 405, "a link that is followed deletes nothing");
    }
    assert!(deletes.lock().unwrap().is_empty() && purges.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_a_tenant_of_its_own_can_be_changed() {
    let (server, deletes, purges) = server(Tenancy::Multi);
    let send = async |path: &str, tenant: Option<&str>| {
        let mut request = form(&format!("admin/tsdb/{path}"), &[("match[]", "up")]);
        if let Some(tenant) = tenant {
            request.headers_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        }
        server.send(request).await.status.as_u16()
    };
    for path in ["delete_series", "clean_tombstones"] {
        assert_eq!(send(path, None).await, 401);
        assert_eq!(send(path, Some("__system")).await, 403);
        assert_eq!(send(path, Some("a|b")).await, 400);
        assert_eq!(send(path, Some("a")).await, 204);
    }
    assert_eq!(deletes.lock().unwrap().iter().map(|(tenant, _)| tenant).collect::<Vec<_>>(), ["a"]);
    assert_eq!(*purges.lock().unwrap(), ["a"]);
}
