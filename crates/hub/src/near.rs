//! Names that are spelled nearly like another.

/// The candidates within a third of the name's length, nearest first; at least two edits are forgiven, at most three are
/// shown.
pub(crate) fn near<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let forgiven = (name.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|&(edits, candidate)| edits <= forgiven && edits < candidate.chars().count())
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().take(3).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// Levenshtein's distance: the letters to insert, drop or change. One row of the table is kept.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, distance) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("mnist", "mnsit", 2), ("é", "e", 1)]
        {
            assert_eq!(edits(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn near_names_come_nearest_first_and_far_ones_not_at_all() {
        let names = ["fashion-mnist", "mnist", "imagenet", "a"];
        assert_eq!(near("fashon-mnist", names), ["fashion-mnist"]);
        assert_eq!(near("minst", names), ["mnist"]);
        assert!(near("zzzz", names).is_empty() && near("b", names).is_empty());
    }
}
