//! Words in program text.

use std::collections::HashSet;

/// Whether a character can be part of an identifier.
pub fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The identifiers of Rust source. Comments do not count: they may go on naming what is gone.
pub fn words_of_code(source: &str) -> HashSet<&str> {
    let code = source.lines().map(|line| line.find("//").map_or(line, |at| &line[..at]));
    code.flat_map(|line| line.split(|character| !is_word(character))).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_from_code_alone() {
        let words = words_of_code("/// See Gone.\nfn settle_call(claim: &Claim) {} // Later\n");
        assert!(words.contains("settle_call") && words.contains("Claim"));
        assert!(!words.contains("Gone") && !words.contains("Later"));
    }
}
