//! Every help text, as it is. A new command is found by itself.

mod support;

use support::World;

#[test]
fn every_help_text_is_as_written_down() {
    let world = World::new();
    let mut pending: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = world.ok(&args);
        let name = if path.is_empty() { "millstream".to_owned() } else { format!("millstream-{}", path.join("-")) };
        insta::assert_snapshot!(name, help);
        pending.extend(commands(&help).into_iter().map(|command| [path.clone(), vec![command]].concat()));
        seen += 1;
    }
    assert!(seen > 25, "only {seen} commands were found");
}

/// The names under `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_version_and_completions_are_printed() {
    let world = World::new();
    assert!(world.ok(&["--version"]).starts_with("millstream "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&["completions", shell]).contains("millstream"), "{shell}");
    }
}
