//! The media type of a file by the end of its name, and whether compressing it is worth the work.

/// What is served where the name tells nothing.
const UNKNOWN: &str = "application/octet-stream";

/// Ends of names, and the types that the web uses for them.
const TYPES: &[(&str, &str)] = &[
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("bin", UNKNOWN),
    ("bmp", "image/bmp"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("rss", "application/rss+xml"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// The type of a file of this name.
pub fn media_type(name: &[u8]) -> &'static str {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let end = dot.and_then(|at| name.get(at + 1..)).unwrap_or_default();
    let known = TYPES
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(end));
    known.map_or(UNKNOWN, |(_, media_type)| media_type)
}

/// Whether what has this type becomes smaller by compressing it. Streams of events do, but must not
/// wait in a compressor.
pub fn is_compressible(media_type: &[u8]) -> bool {
    let end = media_type.iter().position(|byte| *byte == b';');
    let essence = media_type.get(..end.unwrap_or(media_type.len()));
    let essence = essence
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    if essence.starts_with(b"text/") {
        return essence != b"text/event-stream";
    }
    essence.ends_with(b"+json")
        || essence.ends_with(b"+xml")
        || matches!(
            &essence[..],
            b"application/json"
                | b"application/javascript"
                | b"application/xml"
                | b"application/yaml"
                | b"application/toml"
                | b"application/wasm"
                | b"application/vnd.ms-fontobject"
                | b"application/vnd.apple.mpegurl"
                | b"font/otf"
                | b"font/ttf"
                | b"image/bmp"
                | b"image/x-icon"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_the_type() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("A.JPG", "image/jpeg"),
            ("a.tar.gz", "application/gzip"),
            ("a", UNKNOWN),
            ("html", UNKNOWN),
            (".html", "text/html; charset=utf-8"),
            ("a.", UNKNOWN),
            ("a.unheard", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn what_is_compressed_already_is_left_alone() {
        for fine in [
            "text/html; charset=utf-8",
            "TEXT/plain",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
        ] {
            assert!(is_compressible(fine.as_bytes()), "{fine}");
        }
        for not in ["text/event-stream", "image/png", "video/mp4", "", UNKNOWN] {
            assert!(!is_compressible(not.as_bytes()), "{not}");
        }
    }
}
