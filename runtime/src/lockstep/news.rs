//! What waits is told when it changes, and now and then that it still does.

use std::time::{Duration, Instant};

/// How often the same is told again. A log has to show that something waits, and nothing else.
const AGAIN: Duration = Duration::from_secs(15);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct News(Option<(String, Instant)>);

impl News {
    /// Whether this is to be told; it counts as told then.
    pub(super) fn is_new(&mut self, text: &str) -> bool {
        let known = self.0.as_ref().is_some_and(|(told, at)| told == text && at.elapsed() < AGAIN);
        if !known {
            self.0 = Some((text.to_owned(), Instant::now()));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_what_changes_at_once() {
        let mut news = News::default();
        let told: Vec<bool> = ["a", "a", "b", "b", "a"].map(|text| news.is_new(text)).into();
        assert_eq!(told, [true, false, true, false, true]);
        news.0 = Instant::now().checked_sub(AGAIN).map(|long_ago| ("a".to_owned(), long_ago));
        assert!(news.is_new("a"), "a log that is silent for long does not show that something waits");
    }
}
