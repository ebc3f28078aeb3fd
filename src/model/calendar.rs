//! UTC dates of times in ms since 1970, for names that people read.

/// A moment in the proleptic Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
}

impl Date {
    /// The date of a time in ms since 1970.
    pub fn from_ms(ms: u64) -> Self {
        let seconds = ms / 1000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        Self { year, month, day, hour, minute, second }
    }

    /// As `2026-11-22`.
    pub fn day_name(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Year, month and day of a number of days since 1970: `civil_from_days` of Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms",
/// <https://howardhinnant.github.io/date_algorithms.html>, for days from 1970 on.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_days_that_are_easily_got_wrong() {
        let name = |seconds: u64| Date::from_ms(seconds * 1000).day_name();
        assert_eq!(name(0), "1970-01-01");
        assert_eq!(name(951_782_400), "2000-02-29");
        assert_eq!(name(951_868_800), "2000-03-01");
        assert_eq!(name(1_709_164_800), "2024-02-29");
        assert_eq!(name(4_107_542_400), "2100-03-01");
        assert_eq!(name(1_798_761_599), "2026-12-31");
        assert_eq!(name(1_798_761_600), "2027-01-01");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil_from_days(0);
        for days in 1..200_000 {
            let next = civil_from_days(days);
            let (year, month, day) = last;
            let follows = [(year, month, day + 1), (year, month + 1, 1), (year + 1, 1, 1)];
            assert!(follows.contains(&next) && next > last, "{last:?} {next:?}");
            last = next;
        }
    }

    #[test]
    fn splits_the_day() {
        let date = Date::from_ms(86_400_000 * 2 - 1);
        assert_eq!((date.day, date.hour, date.minute, date.second), (2, 23, 59, 59));
    }
}
