//! Quota periods: days, weeks and months of UTC, which has no daylight saving.

use crate::time::civil_date;

const DAY: i64 = 86_400;

/// Lengths of quota periods (R-PLAN-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Sunday's midnight.
    Week,
    /// From the first's midnight.
    Month,
}

/// One period: `[start, end)` in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// First second of the next one.
    pub end: i64,
}

impl Period {
    /// The period that holds this moment. Moments before 1970 count as 1970.
    pub fn window(self, unix_seconds: i64) -> Window {
        let day = unix_seconds.max(0) / DAY;
        let (first, last) = match self {
            Self::Day => (day, day + 1),
            // The first day of 1970 was a Thursday, the fifth day of a week that begins on Sunday.
            Self::Week => {
                let sunday = day - (day + 4) % 7;
                (sunday, sunday + 7)
            }
            Self::Month => {
                let first = day - (day_of_month(day) - 1);
                let next = first + 31;
                (first, next - (day_of_month(next) - 1))
            }
        };
        Window { start: first.max(0) * DAY, end: last * DAY }
    }
}

fn day_of_month(day: i64) -> i64 {
    let (_, _, of_month) = civil_date(u64::try_from(day).expect("days are counted from 1970"));
    i64::try_from(of_month).expect("months have 31 days at most")
}

impl Window {
    /// Whether the moment lies within.
    pub fn contains(self, unix_seconds: i64) -> bool {
        (self.start..self.end).contains(&unix_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_2026: i64 = 1_767_225_600; // 2026-01-01, a Thursday

    /// Proves R-PLAN-5.
    #[test]
    fn windows_begin_at_utc_midnight_of_the_day_of_sunday_and_of_the_first() {
        let noon = YEAR_2026 + DAY / 2;
        assert_eq!(Period::Day.window(noon), Window { start: YEAR_2026, end: YEAR_2026 + DAY });
        assert_eq!(Period::Week.window(noon), Window { start: YEAR_2026 - 4 * DAY, end: YEAR_2026 + 3 * DAY });
        assert_eq!(Period::Month.window(noon), Window { start: YEAR_2026, end: YEAR_2026 + 31 * DAY });
        let february = YEAR_2026 + 31 * DAY;
        assert_eq!(Period::Month.window(february + 28 * DAY - 1), Window { start: february, end: february + 28 * DAY });
    }

    #[test]
    fn windows_follow_each_other_without_gap_for_two_hundred_years() {
        for period in [Period::Day, Period::Week, Period::Month] {
            let mut window = period.window(0);
            while window.end < 200 * 365 * DAY {
                let next = period.window(window.end);
                assert_eq!(next.start, window.end);
                assert_eq!(period.window(window.end - 1), window);
                assert_eq!(period.window(window.start), window);
                window = next;
            }
        }
    }
}
