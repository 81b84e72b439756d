//! [`HedgeBudget`]: how many requests may be sent to a second target as well, since the first is
//! late.

/// So many requests' share can be saved up.
const SAVED_MAX: u32 = 10;

/// What may be hedged of the requests to a target: a set share of them, and never more.
#[derive(Clone, Debug, Default)]
pub struct HedgeBudget {
    hundredths: u32,
}

impl HedgeBudget {
    /// A request was sent, of whose kind `percent` may be hedged.
    pub fn earn(&mut self, percent: u32) {
        self.hundredths = (self.hundredths + percent.min(100)).min(SAVED_MAX * 100);
    }

    /// Whether a request may be hedged.
    pub const fn is_enough(&self) -> bool {
        self.hundredths >= 100
    }

    /// A request was hedged.
    pub const fn spend(&mut self) {
        self.hundredths = self.hundredths.saturating_sub(100);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_a_share_of_the_requests() {
        let mut budget = HedgeBudget::default();
        let mut hedges = 0;
        for requests in 1..=1_000 {
            budget.earn(5);
            if budget.is_enough() {
                budget.spend();
                hedges += 1;
            }
            assert!(hedges * 100 <= requests * 5);
        }
        assert_eq!(hedges, 50);
    }

    #[test]
    fn not_many_are_saved_up() {
        let mut budget = HedgeBudget::default();
        for _ in 0..10_000 {
            budget.earn(100);
        }
        let hedges = (0..).take_while(|_| {
            let is_enough = budget.is_enough();
            budget.spend();
            is_enough
        });
        assert_eq!(hedges.count(), 10);
    }
}
