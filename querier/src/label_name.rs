//! Label names in paths: undoes the `U__` escapes of names that are not plain.
//!
//! An escaped name begins with `U__`; in the rest `__` stands for `_`, and `_<hex>_` for the
//! character with that code point. A malformed escape leaves the whole name as it was.

const PREFIX: &str = "U__";

/// The most hex digits a code point can have.
const HEX_DIGITS_MAX: usize = 6;

/// The label name that a path segment names.
pub(crate) fn unescape(name: &str) -> String {
    match name.strip_prefix(PREFIX) {
        Some(escaped) => unescape_rest(escaped).unwrap_or_else(|| name.to_owned()),
        None => name.to_owned(),
    }
}

fn unescape_rest(escaped: &str) -> Option<String> {
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find('_')?;
        match &rest[..end] {
            "" => plain.push('_'),
            hex => plain.push(code_point(hex)?),
        }
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    Some(plain)
}

fn code_point(hex: &str) -> Option<char> {
    if hex.len() > HEX_DIGITS_MAX || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(hex, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_as_the_table_says() {
        let table = [
            ("job", "job"),
            ("__name__", "__name__"),
            ("U__http_2e_status__code", "http.status_code"),
            ("U__a_20_b", "a b"),
            ("U___e9_", "é"),
            ("U___E9_", "é"),
            ("U___31_x", "1x"),
            ("U__", ""),
            ("U__é", "é"),
        ];
        for (path, plain) in table {
            assert_eq!(unescape(path), plain);
        }
    }

    #[test]
    fn malformed_escapes_stay_as_they_are() {
        for path in
            ["U__a_zz_", "U__a_", "U__a_2e", "U__a_d800_", "U__a_1234567_", "U__a___b", "U_a_2e_"]
        {
            assert_eq!(unescape(path), path);
        }
    }
}
