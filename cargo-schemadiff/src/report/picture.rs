//! A picture on a terminal of a certain size.

use console::truncate_str;

/// As much of a text as fits: the first rows, each cut at the edge, and the last one says what is missing. One row stays empty, so
/// that nothing scrolls.
pub(super) fn fitted(text: &str, rows: usize, columns: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let (shown, left) = if lines.len() <= room { (lines.len(), 0) } else { (room - 1, lines.len() - (room - 1)) };
    let mut fitted: Vec<String> =
        lines[..shown].iter().map(|line| truncate_str(line, columns, "…").into_owned()).collect();
    if left > 0 {
        let more = format!("… {left} more lines than this terminal has room for");
        fitted.push(truncate_str(&more, columns, "…").into_owned());
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::fitted;

    #[test]
    fn a_picture_takes_no_more_than_its_terminal_has() {
        let text = "one\ntwo\nthree\nfour\n";
        assert_eq!(fitted(text, 5, 80), ["one", "two", "three", "four"]);
        assert_eq!(fitted(text, 4, 80), ["one", "two", "… 2 more lines than this terminal has room for"]);
        assert_eq!(fitted(text, 4, 10), ["one", "two", "… 2 more …"]);
        assert_eq!(fitted(text, 0, 80).len(), 1);
        assert_eq!(
            fitted("\u{1b}[32mlonger\u{1b}[0m", 5, 4),
            ["\u{1b}[32mlon…\u{1b}[0m"],
            "colours end where they ended"
        );
    }
}
