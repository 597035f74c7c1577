//! From a request's path to the names of directories and a file: decoded once, and none of them a way
//! up.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use super::super::problem::Problem;
use super::super::router::is_encoded;

/// What a path below a route names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segments {
    /// Joined by `/`; empty for the root itself.
    pub(super) path: Vec<u8>,
    /// It ended in `/`, as paths of directories do.
    pub(super) directory: bool,
}

/// Reads the part of a request's path behind the route's.
///
/// # Errors
///
/// 400 where it is not percent-encoded; 404 where no file can have such a name, or, unless `hidden`,
/// where a name begins with a dot. `.well-known` (RFC 8615) is meant to be seen.
pub(super) fn segments(rest: &str, hidden: bool) -> Result<Segments, Problem> {
    if !is_encoded(rest) {
        let detail = "the path is not percent-encoded";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_path", detail));
    }
    let directory = rest.is_empty() || rest.ends_with('/');
    let mut path = Vec::with_capacity(rest.len());
    for segment in rest.strip_suffix('/').unwrap_or(rest).split('/') {
        if rest.is_empty() || rest == "/" {
            break;
        }
        let name: Vec<u8> = percent_decode_str(segment).collect();
        let dotted = name.starts_with(b".") && name != b".well-known";
        let unusable = name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if unusable || name == b"." || name == b".." || (dotted && !hidden) {
            return Err(Problem::not_found());
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
    }
    if rest == "/" {
        return Err(Problem::not_found());
    }
    Ok(Segments { path, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_leads_downwards() {
        let check = |rest: &str, expected: Result<(&str, bool), u16>| {
            let found = segments(rest, false).map_err(|problem| problem.status.as_u16());
            let found = found.map(|it| (String::from_utf8(it.path).unwrap(), it.directory));
            let expected = expected.map(|(path, directory)| (path.to_owned(), directory));
            assert_eq!(found, expected, "{rest:?}");
        };
        check("", Ok(("", true)));
        check("a", Ok(("a", false)));
        check("a/", Ok(("a", true)));
        check("a/b%20c.txt", Ok(("a/b c.txt", false)));
        check("a%252e", Ok(("a%2e", false)));
        check("...", Err(404));
        check(".well-known/a", Ok((".well-known/a", false)));
        for up in [
            "/",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "%2e%2e/a",
            "%2E%2e",
            ".%2e/a",
            "..%2fa",
            "a%2f..%2fb",
            "a%2fb",
            "%2fetc/passwd",
            "/etc/passwd",
            ".",
            "./a",
            "a//b",
            "a%00",
            ".git/config",
            "a/.env",
        ] {
            check(up, Err(404));
        }
        for wrong in ["%", "a%2", "%zz", "a/%"] {
            check(wrong, Err(400));
        }
    }

    #[test]
    fn dotted_names_may_be_shown() {
        assert!(segments(".git/config", true).is_ok());
        assert!(segments("../a", true).is_err());
        assert!(segments("./a", true).is_err());
    }
}
