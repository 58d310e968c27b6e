//! `millstream config`.

use clap::Subcommand;
use millstream::Config;
use serde_json::json;

use crate::{
    cli::Globals,
    failure::Failure,
    output::{Output, Table},
};

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Show {
    /// Every key there is, with what it takes and its default.
    Keys,
    /// Check the configuration, and say which stores it names.
    Check,
}

impl Show {
    pub(crate) fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Keys => keys(output),
            Self::Check => check(&Config::load(&globals.sources()?)?, output),
        }
    }
}

fn keys(output: &Output) -> Result<(), Failure> {
    if output.json {
        let key = |key: &millstream::Key| json!({ "key": key.path, "aliases": key.aliases, "takes": key.kind.expected(), "default": key.default, "doc": key.doc });
        return output.json(&Config::keys().map(key).collect::<Vec<_>>());
    }
    let mut table = Table::new(["KEY", "TAKES", "DEFAULT"]);
    for key in Config::keys() {
        let plain = |text: &str| text.replace('`', "").replace("[Adapters](#adapters)", "docs/configuration.md");
        table.row([key.path.replace('*', "<queue>"), plain(&key.kind.expected()), plain(key.default)]);
    }
    output.data(table.text(output))
}

fn check(config: &Config, output: &Output) -> Result<(), Failure> {
    let seams = [("queue", &config.queue), ("eventStore", &config.events), ("state", &config.state)];
    let shown = seams.map(|(seam, backend)| (seam, backend.to_string()));
    let one = shown.iter().all(|(_, place)| *place == shown[0].1);
    let value = json!({
        "queue": shown[0].1, "eventStore": shown[1].1, "state": shown[2].1, "oneTransaction": one,
    });
    output.either(&value, || {
        let mut table = Table::new(["", "STORE"]);
        for (seam, place) in &shown {
            table.row([(*seam).to_owned(), place.clone()]);
        }
        table.text(output)
    })
}
