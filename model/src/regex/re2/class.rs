//! Classes of characters: in brackets, by a POSIX name, by a category or script of Unicode.

use super::Rewriter;
use crate::regex::{RegexError, fault};
use std::fmt::Write;

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Categories of characters.
const CATEGORIES: &str = "C Cc Cf Cn Co Cs L LC Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe \
    Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";

/// Scripts of characters.
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak \
    Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian \
    Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot \
    Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs \
    Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic \
    Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana \
    Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha \
    Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean \
    Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive \
    Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari \
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki \
    Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian \
    Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene \
    Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra \
    Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese \
    Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut \
    Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho \
    Warang_Citi Yezidi Yi Zanabazar_Square \
";

/// Whether behind a backslash this stands for a class.
fn starts_class(rest: &str) -> bool {
    rest.starts_with(['d', 'D', 'w', 'W', 's', 'S', 'p', 'P'])
}

impl Rewriter<'_> {
    /// A class in brackets, of which the `[` has been read: items up to a `]` that is not the first of them.
    pub(super) fn push_class(&mut self) -> Result<(), RegexError> {
        self.out.push('[');
        if self.rest().starts_with('^') {
            self.chars.next();
            self.out.push('^');
        }
        let mut is_first = true;
        while let Some(c) = self.chars.next() {
            if c == ']' && !is_first {
                self.out.push(']');
                break;
            }
            is_first = false;
            self.push_class_item(c)?;
        }
        Ok(())
    }

    /// A named class, an escape for a class, a character or a range of characters.
    fn push_class_item(&mut self, c: char) -> Result<(), RegexError> {
        let rest = self.rest();
        if c == '[' && rest.starts_with(':') {
            return self.push_named_class();
        }
        let is_of_many = c == '\\' && starts_class(rest);
        self.push_class_char(c)?;
        let range = self.rest().strip_prefix('-').and_then(|end| end.chars().next());
        if !is_of_many && range.is_some_and(|end| end != ']') {
            self.chars.next();
            self.out.push('-');
            match self.chars.next() {
                // No character ends it: it says so.
                Some('\\') if starts_class(self.rest()) => self.out.push('\\'),
                Some(end) => self.push_class_char(end)?,
                None => {}
            }
        }
        Ok(())
    }

    /// A character of a class, which is none of our library's operators there.
    fn push_class_char(&mut self, c: char) -> Result<(), RegexError> {
        match c {
            // These are no characters: it says so.
            '\\' if self.rest().starts_with(['b', 'B', 'Q']) => self.out.push('\\'),
            '\\' => return self.push_escape(self.at() - 1),
            '[' | ']' | '^' | '&' | '~' | '-' => self.out.extend(['\\', c]),
            _ => self.out.push(c),
        }
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]` inside of brackets; its `[` has been read.
    fn push_named_class(&mut self) -> Result<(), RegexError> {
        let at = self.at() - 1;
        // Behind the first colon, which may be the last too.
        let Some(end) = self.find(1, ":]") else {
            self.out.push_str("\\[");
            return Ok(());
        };
        let (name, rest) = self.rest().split_at(end + 3);
        self.chars = rest.chars();
        let bare = name.strip_prefix(':').and_then(|name| name.strip_suffix(":]")).unwrap_or("");
        if !POSIX.contains(&bare.strip_prefix('^').unwrap_or(bare)) {
            return Err(fault(self.since(at), "invalid character class range"));
        }
        self.out.push('[');
        self.out.push_str(name);
        Ok(())
    }

    /// `\pN`, `\p{Greek}` or `\p{^Greek}` at `at`, of which the `p` has been read.
    pub(super) fn push_property(&mut self, at: usize, is_not: bool) -> Result<(), RegexError> {
        let rest = self.rest();
        let (name, behind) = match rest.strip_prefix('{') {
            Some(inside) => inside.split_once('}').unwrap_or(("", "")),
            None => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)),
        };
        self.chars = behind.chars();
        let (name, is_not) = match name.strip_prefix('^') {
            Some(name) => (name, !is_not),
            None => (name, is_not),
        };
        let is_in = |names: &str| names.split_ascii_whitespace().any(|known| known == name);
        // Of Cs, halves of pairs of UTF-16, no text has any.
        let is_not = is_not != (name == "Cs");
        let property = match name {
            "Any" | "Cs" => "Any".into(),
            _ if is_in(CATEGORIES) => format!("gc={name}"),
            _ if is_in(SCRIPTS) => format!("sc={name}"),
            _ => return Err(fault(self.since(at), "invalid character class range")),
        };
        // Writing into a text does not fail.
        let _ = write!(self.out, "\\{}{{{property}}}", if is_not { 'P' } else { 'p' });
        Ok(())
    }
}
