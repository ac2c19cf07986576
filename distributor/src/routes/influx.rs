//! What clients of InfluxDB ask before they write: which databases there are. There is none to
//! create: a database is a label.

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;

type Parameters = HashMap<String, String>;

/// Longer names are not given back.
const NAME_BYTES_MAX: usize = 1024;

pub(super) async fn query(Query(url): Query<Parameters>, request: Request<Body>) -> Response {
    let form = match request.method() == Method::POST {
        true => Form::<Parameters>::from_request(request, &()).await.ok(),
        false => None,
    };
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let text = |name: &str| form.get(name).or(url.get(name)).map_or("", |text| text.trim());
    let statement = text("q").trim_end_matches(';').to_ascii_uppercase();
    let words: Vec<&str> = statement.split_ascii_whitespace().take(3).collect();
    let result = match *words {
        ["SHOW", "DATABASES"] => {
            let db = text("db");
            let name = if db.is_empty() || db.len() > NAME_BYTES_MAX { "cumae" } else { db };
            let columns = r#"{"name":"databases","columns":["name"],"values":[["#;
            format!(r#"{{"statement_id":0,"series":[{columns}{}]]}}]}}"#, json_string(name))
        }
        ["CREATE", "DATABASE", _] => r#"{"statement_id":0}"#.to_owned(),
        _ => {
            let error = r#"{"error":"only SHOW DATABASES and CREATE DATABASE are answered here"}"#;
            return json(StatusCode::BAD_REQUEST, error.to_owned());
        }
    };
    json(StatusCode::OK, format!(r#"{{"results":[{result}]}}"#))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A text as JSON; control characters are left out.
fn json_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
