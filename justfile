# What one does here every day. `just` is a comfort: each recipe is one command that can be typed by hand.

# List the recipes
_default:
    @just --list --unsorted

# Watch it work: webhooks through a small pipeline, some of them retried, in memory
demo:
    cargo run -p millstream-cli -- demo

# Run every test; those of servers fetch and start their own
test:
    cargo test --workspace

# Put the code into its form
fmt:
    cargo fmt --all

# Check form, lints and what comes in from outside; changes nothing
lint:
    .ci/run fmt clippy deny

# Build the reference, private items included; a broken link is an error
docs:
    .ci/run docs

# Accept the outside faces (help texts, output, JSON) as they are now, and show what changed
snapshots:
    INSTA_UPDATE=always cargo test --workspace
    git diff --stat -- '*.snap'

# Everything that a change must pass, as CI runs it
ci:
    .ci/run
