//! `docs/configuration.md` and the table of keys say the same. `MILLSTREAM_WRITE_DOCS=1` writes the page's part
//! between its two marks anew.

use std::fmt::Write as _;

use millstream::{Config, Group, JobSettings, Sources};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const BEGIN: &str = "<!-- keys: written by a test, from the table in crates/millstream/src/config/keys.rs -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn every_key_is_documented_with_its_default_and_nothing_else_is() {
    let page = std::fs::read_to_string(PAGE).expect("docs/configuration.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page marks where keys begin");
    let (shown, after) = rest.split_once(END).expect("the page marks where keys end");
    let expected: String = Config::groups().iter().map(group).chain(["\n".to_owned()]).collect();
    if std::env::var_os("MILLSTREAM_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{expected}{END}{after}")).expect("writes the page");
        return;
    }
    assert!(shown == expected, "the page is behind the table: run this test with MILLSTREAM_WRITE_DOCS=1");
}

fn group(group: &'static Group) -> String {
    let places: Vec<String> = group.places.iter().map(|place| format!("`{}`", place.replace('*', "<queue>"))).collect();
    let mut text =
        format!("\n### {}\n\n{}\n\n| key | takes | default | |\n|---|---|---|---|\n", places.join(", "), group.doc);
    let place = group.places[0];
    let own = |path: &str| format!("`{}`", &path[place.len() + 1..]);
    for key in group.keys(place) {
        let names: Vec<String> = std::iter::once(&key.path).chain(&key.aliases).map(|path| own(path)).collect();
        writeln!(text, "| {} | {} | {} | {} |", names.join(", or "), key.kind.expected(), key.default, key.doc)
            .expect("text grows");
    }
    text
}

/// Writing a default down changes nothing: so the defaults of the page are those of the code.
#[test]
fn a_documented_default_is_what_holds_without_it() {
    let nowhere = Sources::default().directory("/nonexistent");
    let unset = Config::load(&nowhere).expect("loads");
    let mut checked = 0;
    for key in Config::keys() {
        let section = key.path.split('.').next().unwrap_or_default();
        let ours = ["worker", "store", "defaultJobOptions"].contains(&section) || key.path == "queue.events";
        if !ours || ["none", "all", "for ever"].contains(&key.default) {
            continue;
        }
        let mut sources = nowhere.clone().set(&key.path, key.default);
        if key.path.ends_with("delayMs") && key.path.contains("backoff") {
            sources = sources.set("defaultJobOptions.backoff.type", "exponential");
        }
        let config = Config::load(&sources).unwrap_or_else(|error| panic!("{}: {error}", key.path));
        let settings = JobSettings::from(config.defaults.base.clone());
        assert_eq!(settings, JobSettings::default(), "{}", key.path);
        assert_eq!((&config.worker, config.lease), (&unset.worker, unset.lease), "{}", key.path);
        assert_eq!(config.job_events, unset.job_events, "{}", key.path);
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} defaults were checked");
}

#[test]
fn every_example_loads() {
    let page = std::fs::read_to_string(PAGE).expect("docs/configuration.md");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3, "the page has examples");
    for example in examples {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("millstream.toml"), example).expect("writes");
        let Err(error) = Config::load(&Sources::default().directory(directory.path())) else { continue };
        // An example of a store that is not in this build is right if that is all that is said against it.
        for line in error.to_string().lines() {
            assert!(line.contains("expected an adapter of this build"), "{line}\nin:\n{example}");
        }
    }
}

#[test]
fn variables_named_by_the_page_are_keys() {
    let page = std::fs::read_to_string(PAGE).expect("docs/configuration.md");
    for word in page.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_')) {
        if word.starts_with("MILLSTREAM_") && word.contains("__") {
            let sources = Sources::default().directory("/nonexistent").variable(word, "");
            assert!(Config::load(&sources).is_ok());
            let problem = Config::load(&Sources::default().directory("/nonexistent").variable(word, "\u{1}"));
            let text = problem.map(|_| String::new()).unwrap_or_else(|error| error.to_string());
            assert!(!text.contains("unknown"), "{word}: {text}");
        }
    }
}
