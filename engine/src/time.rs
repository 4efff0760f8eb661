//! Times as the gateway writes them: `dd/MMM/yyyy:HH:mm:ss +0000` (H-LOG-7, H-EV2-17).

use std::fmt;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A second of UTC in the form of the common log format, on the stack.
///
/// Making one costs a few divisions; a caller that handles many requests a second may keep the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogTime([u8; LogTime::LENGTH]);

impl LogTime {
    /// Characters of a time.
    pub const LENGTH: usize = 26;

    /// The time that is this many seconds after 1970. Years after 9999 are written as 9999.
    pub fn from_epoch_seconds(seconds: u64) -> Self {
        const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
        let seconds = seconds.min(LAST_SECOND_OF_9999);
        let (year, month, day) = civil_date(seconds / 86_400);
        let mut text = *b"dd/MMM/yyyy:HH:mm:ss +0000";
        two_digits(&mut text[0..2], day);
        text[3..6].copy_from_slice(MONTHS[usize::try_from(month - 1).expect("months are 1 to 12")]);
        two_digits(&mut text[7..9], year / 100);
        two_digits(&mut text[9..11], year % 100);
        two_digits(&mut text[12..14], seconds / 3600 % 24);
        two_digits(&mut text[15..17], seconds / 60 % 60);
        two_digits(&mut text[18..20], seconds % 60);
        Self(text)
    }

    /// The 26 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII characters")
    }
}

/// `20260710T191905Z`, as signatures have it.
pub(crate) fn basic(seconds: u64) -> String {
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogTime({self})")
    }
}

fn two_digits(out: &mut [u8], number: u64) {
    out[0] = digit(number / 10);
    out[1] = digit(number % 10);
}

fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Year, month and day of the month of a day counted from 1970-01-01, in the proleptic Gregorian calendar. The
/// arithmetic counts years from March, so that the day that leap years add comes last (Neri and Schneider, 2022).
pub(crate) fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_FROM_0000_03_01;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to a date; the inverse of [`civil_date`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Seconds from 1970 to a date and time of ISO 8601 in UTC: `2026-07-10`, `2026-07-10T19:19:05Z`, `20260710T191905Z`. `None` for any other
/// text, dates that do not exist included.
pub fn seconds_of_date(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "000000"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let days = days_of(year, month, day);
    let exists = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && u64::try_from(days).map_or(year >= 1, |days| {
            civil_date(days) == (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
        });
    (exists && hour < 24 && minute < 60 && second < 60).then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Seconds from 1970 to a date as in the header `Date`: `Sun, 30 Aug 2015 12:36:00 GMT` (RFC 9110 section 5.6.7, its preferred form only).
pub fn seconds_of_http_date(text: &str) -> Option<i64> {
    let rest = text.split_once(", ")?.1;
    let mut words = rest.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| name.as_slice() == month.as_bytes())? + 1;
    if words.next() != Some("GMT") || words.next().is_some() || day.len() != 2 || year.len() != 4 {
        return None;
    }
    seconds_of_date(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// A second after 1970 as `20150830T123600Z`.
pub fn compact_date(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok()?;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    Some(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"))
}

/// Three numbers of fixed lengths, all separated or none.
fn numbers(text: &str, separator: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let mut rest = text;
    let separated = text.contains(separator);
    let mut found = [0; 3];
    for (index, (length, number)) in lengths.into_iter().zip(&mut found).enumerate() {
        if index > 0 && separated {
            rest = rest.strip_prefix(separator)?;
        }
        let (digits, after) = rest.split_at_checked(length)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = digits.parse().ok()?;
        rest = after;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves H-EV2-17, H-LOG-7.
    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_709_251_199, "29/Feb/2024:23:59:59 +0000"),
            (1_709_251_200, "01/Mar/2024:00:00:00 +0000"),
            (1_783_711_145, "10/Jul/2026:19:19:05 +0000"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000"),
            (253_402_300_799, "31/Dec/9999:23:59:59 +0000"),
            (u64::MAX, "31/Dec/9999:23:59:59 +0000"),
        ] {
            assert_eq!(LogTime::from_epoch_seconds(seconds).as_str(), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let length = |year, month| match month {
            2 => 28 + u64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil_date(days), (year, month, day));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn dates_are_read() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00:01Z", Some(1)),
            ("20260710T191905Z", Some(1_783_711_145)),
            ("2026-07-10T19:19:05Z", Some(1_783_711_145)),
            ("2000-02-29", Some(951_782_400)),
            ("2100-03-01", Some(4_107_542_400)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2023-02-29", None),
            ("2026-13-01", None),
            ("2026-00-10", None),
            ("2026-07-10T24:00:00Z", None),
            ("2026-07-10T19:19:05", None),
            ("2026-07-10T19:19:05+01:00", None),
            ("2026-0710", None),
            ("20260710T19190Z", None),
            ("2026071é", None),
            ("", None),
        ] {
            assert_eq!(seconds_of_date(text), seconds, "{text}");
        }
    }

    #[test]
    fn http_dates() {
        assert_eq!(seconds_of_http_date("Sun, 30 Aug 2015 12:36:00 GMT"), seconds_of_date("20150830T123600Z"));
        assert_eq!(compact_date(1_783_711_145).as_deref(), Some("20260710T191905Z"));
        for bad in [
            "",
            "30 Aug 2015 12:36:00 GMT",
            "Sun, 30 Aug 2015 12:36:00",
            "Sun, 30 Foo 2015 12:36:00 GMT",
            "Sun, 3 Aug 2015 12:36:00 GMT",
        ] {
            assert_eq!(seconds_of_http_date(bad), None, "{bad}");
        }
    }
}
