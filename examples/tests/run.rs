//! Runs every example to its end: each checks for itself what it hears.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The examples, by name.
fn examples() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = directory
        .read_dir()
        .expect("the examples lie beside this test");
    files
        .map(|file| file.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

/// Where cargo puts an example: `examples/` beside the `deps/` that this test lies in.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let build = test
        .ancestors()
        .nth(2)
        .expect("a test lies in deps/ of the build");
    build.join("examples").join(name)
}

fn check(name: &str) {
    assert!(examples().contains(name), "examples/{name}.rs is there");
    let binary = binary(name);
    assert!(
        binary.is_file(),
        "{} is not built; `cargo test -p roomwire-examples` without further arguments builds it",
        binary.display()
    );
    let run = Command::new(binary)
        .stdin(Stdio::null())
        .output()
        .expect("an example can be started");
    assert!(
        run.status.success(),
        "{name}: {}\n{}{}",
        run.status,
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

macro_rules! run_to_completion {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+

        #[test]
        fn no_example_is_forgotten() {
            let here: BTreeSet<String> = [$(stringify!($name).to_owned()),+].into();
            assert_eq!(examples(), here);
        }
    };
}

run_to_completion! { chat_room echo_everywhere hello http_app order_shop password_hash }
