//! Rules and alerts of a server without a ruler: none, after the parameters have been checked.

use crate::call::Call;
use crate::error::Error;
use crate::language;
use crate::params::{Params, parse_int};
use crate::querier::Querier;
use crate::render::{Annotations, Data, success};
use axum::response::Response;

pub(crate) async fn rules(querier: Querier, call: Call) -> Result<Response, Error> {
    check(&call.params)?;
    language::matcher_sets(&querier, &call, None).await?;
    Ok(success(Data::Json(b"{\"groups\":[]}".to_vec()), &Annotations::default()))
}

pub(crate) async fn alerts(_: Querier, _: Call) -> Result<Response, Error> {
    Ok(success(Data::Json(b"{\"alerts\":[]}".to_vec()), &Annotations::default()))
}

fn check(params: &Params) -> Result<(), Error> {
    let kind = params.get("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Error::param("type", format!("not supported value {kind:?}")));
    }
    let exclude = params.get("exclude_alerts");
    let truths =
        ["", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    if !truths.contains(&exclude) {
        let reason = format!(
            "error converting exclude_alerts: strconv.ParseBool: parsing {exclude:?}: invalid syntax"
        );
        return Err(Error::param("exclude_alerts", reason));
    }
    check_page(params.get("group_limit"), params.get("group_next_token"))
}

/// There is no group, so there is no page after the first, and no token is known.
fn check_page(limit: &str, token: &str) -> Result<(), Error> {
    if limit.is_empty() && !token.is_empty() {
        let reason = "group_limit needs to be present in order to paginate over the groups";
        return Err(Error::param("group_next_token", reason));
    }
    if !limit.is_empty() {
        let number = parse_int(limit, "ParseInt").map_err(|reason| {
            Error::param("group_limit", format!("group_limit needs to be a valid number: {reason}"))
        })?;
        if number <= 0 {
            return Err(Error::param("group_limit", "group_limit needs to be greater than 0"));
        }
    }
    if !token.is_empty() {
        let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(Error::param("group_next_token", reason));
    }
    Ok(())
}
