use std::collections::BTreeMap;

/// What differs between what was sent and what was found, by kind, each with its first few cases.
#[derive(Debug, Default)]
pub(crate) struct Wrong(BTreeMap<&'static str, (u64, Vec<String>)>);

const SHOWN: usize = 5;

impl Wrong {
    pub(crate) fn add(&mut self, kind: &'static str, case: impl FnOnce() -> String) {
        let (count, cases) = self.0.entry(kind).or_default();
        *count += 1;
        if cases.len() < SHOWN {
            cases.push(case());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One for each kind.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let sentence = |(kind, (count, cases)): (&&str, &(u64, Vec<String>))| {
            let more = if *count > cases.len() as u64 { ", …" } else { "" };
            format!("{count} {kind}: {}{more}", cases.join("; "))
        };
        self.0.iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_once_with_its_first_cases() {
        let mut wrong = Wrong::default();
        (0..7).for_each(|case| wrong.add("apples", || case.to_string()));
        wrong.add("pears", || "green".to_owned());
        assert_eq!(wrong.sentences(), ["7 apples: 0; 1; 2; 3; 4, …", "1 pears: green"]);
    }
}
