//! How a person makes programs trust the development CA.

use std::path::Path;

/// Tells how to trust the development CA at `ca` for one command, for a system and in browsers.
///
/// Plain text of a few lines, ending in a newline; the path is quoted for a shell.
pub fn trust_instructions(ca: &Path) -> String {
    let path = shell_quoted(&ca.display().to_string());
    let mut text = String::new();
    let rows = [
        (
            "one command",
            format!("curl --cacert {path} https://localhost:8443/"),
        ),
        (
            "Debian, Ubuntu",
            format!(
                "sudo cp {path} /usr/local/share/ca-certificates/roomwire-development.crt \
                 && sudo update-ca-certificates"
            ),
        ),
        (
            "Fedora",
            format!(
                "sudo cp {path} /etc/pki/ca-trust/source/anchors/roomwire-development.pem \
                 && sudo update-ca-trust"
            ),
        ),
        (
            "macOS",
            format!(
                "security add-trusted-cert -r trustRoot \
                 -k ~/Library/Keychains/login.keychain-db {path}"
            ),
        ),
        (
            "Chromium (Linux)",
            format!(
                "certutil -d sql:\"$HOME/.pki/nssdb\" -A -t C,, -n roomwire-development -i {path}"
            ),
        ),
        (
            "Firefox",
            format!("Settings, Privacy & Security, View Certificates, Authorities, Import: {path}"),
        ),
        ("Node.js", format!("NODE_EXTRA_CA_CERTS={path} node app.js")),
        ("Python", format!("SSL_CERT_FILE={path} python3 app.py")),
    ];
    for (place, what) in rows {
        text.push_str(&format!("{place:<17} {what}\n"));
    }
    text.push_str(
        "It can sign for loopback names and addresses only; \
         whoever has its key can pose as those, so keep ca-key.pem to yourself.\n",
    );
    text
}

/// Quotes where a shell would otherwise split or expand.
fn shell_quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_file_for_each_program() {
        let text = trust_instructions(Path::new("/data/certs/ca.pem"));
        for word in [
            "curl --cacert /data/certs/ca.pem",
            "update-ca-certificates",
            "security",
            "certutil",
            "Firefox",
        ] {
            assert!(text.contains(word), "{word} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_path_is_quoted_for_the_shell() {
        assert_eq!(shell_quoted("/plain/ca.pem"), "/plain/ca.pem");
        assert_eq!(shell_quoted("/my data/ca.pem"), "'/my data/ca.pem'");
        assert_eq!(shell_quoted("/it's/ca.pem"), r"'/it'\''s/ca.pem'");
    }
}
