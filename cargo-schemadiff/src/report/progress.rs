//! Progress on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for rows, hidden when standard error is no terminal, with `--quiet` or with JSON output.
pub fn rows(total: u64, what: &str, visible: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target(visible));
    // The templates are constants, and a wrong one would only lose the bar's looks.
    if let Ok(style) =
        ProgressStyle::with_template("  {msg} [{bar:32}] {human_pos}/{human_len} rows, {per_sec}, {eta} left")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}

/// A spinner for something without a known end.
pub fn spinner(what: &str, visible: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target(visible));
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    if visible {
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
    }
    bar
}

fn target(visible: bool) -> ProgressDrawTarget {
    // indicatif hides it by itself when standard error is no terminal.
    if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
