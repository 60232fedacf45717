//! Countries, states, and provinces.

use super::words::{Parts, before_name};
use super::{abroad, american};

pub(super) const UNITED_STATES: &str = "US";

/// Removes the country from the end, if there is one.
pub(super) fn take_country(parts: &mut Parts<'_>) -> Option<&'static str> {
    let own = AMERICAN.iter().map(|name| (UNITED_STATES, *name));
    let others = COUNTRIES
        .iter()
        .flat_map(|(code, names, _)| names.split(", ").map(|name| (*code, name)));
    let last = parts.0.last()?;
    let state = american::state_at_end(last);
    let found = own.chain(others).filter_map(|(code, name)| {
        let left = before_name(last, name)?;
        let is_named = match state {
            // New Mexico, DE, Georgia: the longer name wins; between equal ones, the postal code
            // decides.
            Some((_, before)) if before < left => false,
            Some((_, before)) if before == left => abroad::is_in(parts, left, code),
            // A two-letter code may be an ordinary word.
            _ if name.len() == 2 && code != UNITED_STATES => {
                name == "uk" || left == 0 || abroad::is_in(parts, left, code)
            }
            _ => true,
        };
        is_named.then_some((code, left))
    });
    let (country, left) = found.min_by_key(|(_, left)| *left)?;
    if american::is_military(parts, left) {
        // The host country does not matter: mail to a military base is American.
        parts.take_last(|_| Some(((), left)));
        return Some(UNITED_STATES);
    }
    parts.take_last(|_| Some(((), left)));
    Some(country)
}

/// The names of the United States; the abbreviations may also have dots.
const AMERICAN: [&str; 6] = [
    "united states of america",
    "the united states of america",
    "united states",
    "the united states",
    "usa",
    "us",
];

/// The states that need a customs declaration for parcels from another state (USPS).
pub(super) const BEHIND_CUSTOMS: [&str; 10] =
    ["AA", "AE", "AP", "AS", "FM", "GU", "MH", "MP", "PW", "VI"];

/// The prefixes of military ZIP codes.
pub(super) const MILITARY: [(&str, &str); 3] = [("340", "AA"), ("09", "AE"), ("96", "AP")];

/// The states that USPS delivers to (USPS Publication 28, Appendix B), with other common names.
pub(super) const STATES: [(&str, &str); 62] = [
    ("AL", "alabama, ala"),
    ("AK", "alaska"),
    ("AS", "american samoa"),
    ("AZ", "arizona, ariz"),
    ("AR", "arkansas, ark"),
    ("CA", "california, calif, cal"),
    ("CO", "colorado, colo"),
    ("CT", "connecticut, conn"),
    ("DE", "delaware, del"),
    ("DC", "district of columbia"),
    ("FM", "federated states of micronesia, micronesia"),
    ("FL", "florida, fla"),
    ("GA", "georgia"),
    ("GU", "guam"),
    ("HI", "hawaii"),
    ("ID", "idaho"),
    ("IL", "illinois, ill"),
    ("IN", "indiana, ind"),
    ("IA", "iowa"),
    ("KS", "kansas, kans, kan"),
    ("KY", "kentucky, ken"),
    ("LA", "louisiana"),
    ("ME", "maine"),
    ("MH", "marshall islands, republic of the marshall islands"),
    ("MD", "maryland"),
    ("MA", "massachusetts, mass"),
    ("MI", "michigan, mich"),
    ("MN", "minnesota, minn"),
    ("MS", "mississippi, miss"),
    ("MO", "missouri"),
    ("MT", "montana, mont"),
    ("NE", "nebraska, nebr, neb"),
    ("NV", "nevada, nev"),
    ("NH", "new hampshire, n h"),
    ("NJ", "new jersey, n j"),
    ("NM", "new mexico, n mex"),
    ("NY", "new york, n y, new york state"),
    ("NC", "north carolina, n carolina"),
    ("ND", "north dakota, n dak, no dak"),
    (
        "MP",
        "northern mariana islands, cnmi, commonwealth of the northern mariana islands",
    ),
    ("OH", "ohio"),
    ("OK", "oklahoma, okla"),
    ("OR", "oregon, oreg, ore"),
    ("PW", "palau, republic of palau"),
    ("PA", "pennsylvania, penna, penn"),
    ("PR", "puerto rico, commonwealth of puerto rico"),
    ("RI", "rhode island"),
    ("SC", "south carolina, s carolina"),
    ("SD", "south dakota, s dak, so dak"),
    ("TN", "tennessee, tenn"),
    ("TX", "texas, tex"),
    ("UT", "utah"),
    ("VT", "vermont"),
    (
        "VI",
        "virgin islands, us virgin islands, united states virgin islands, usvi",
    ),
    ("VA", "virginia"),
    ("WA", "washington, wash"),
    ("WV", "west virginia, w va, wva"),
    ("WI", "wisconsin, wisc, wis"),
    ("WY", "wyoming, wyo"),
    ("AA", "armed forces americas"),
    (
        "AE",
        "armed forces europe, armed forces africa, armed forces canada, armed forces middle east",
    ),
    ("AP", "armed forces pacific"),
];

/// Canada's provinces and territories.
pub(super) const PROVINCES: [(&str, &str); 13] = [
    ("AB", "alberta"),
    ("BC", "british columbia"),
    ("MB", "manitoba"),
    ("NB", "new brunswick"),
    ("NL", "newfoundland and labrador, newfoundland"),
    ("NS", "nova scotia"),
    ("NT", "northwest territories"),
    ("NU", "nunavut"),
    ("ON", "ontario, ont"),
    ("PE", "prince edward island, pei"),
    ("QC", "quebec, québec, que"),
    ("SK", "saskatchewan, sask"),
    ("YT", "yukon, yukon territory"),
];

/// Australia's states.
pub(super) const AUSTRALIAN: [&str; 8] = ["nsw", "vic", "qld", "wa", "sa", "tas", "act", "nt"];

/// British counties that may end an address, in addition to those in `shire`.
pub(super) const COUNTIES: [&str; 20] = [
    "kent",
    "essex",
    "surrey",
    "devon",
    "cornwall",
    "norfolk",
    "suffolk",
    "dorset",
    "somerset",
    "cumbria",
    "merseyside",
    "middlesex",
    "greater london",
    "greater manchester",
    "west midlands",
    "tyne and wear",
    "east sussex",
    "west sussex",
    "county durham",
    "isle of wight",
];

/// Codes (ISO 3166-1), names in English and in the local language, and the format of postal codes
/// (Universal Postal Union): `n` is a digit, `a` a letter, and `uk` the British format; empty if
/// the country has none, `?` if they are optional.
pub(super) const COUNTRIES: [(&str, &str, &str); 96] = [
    (
        "GB",
        "united kingdom, great britain, uk, gb, england, scotland, wales, northern ireland",
        "uk",
    ),
    ("CA", "canada, ca", "ana nan"),
    ("DE", "germany, deutschland, de", "nnnnn"),
    ("AT", "austria, osterreich, österreich, at", "nnnn"),
    ("CH", "switzerland, schweiz, suisse, svizzera, ch", "nnnn"),
    ("LI", "liechtenstein, li", "nnnn"),
    ("FR", "france, fr", "nnnnn"),
    ("BE", "belgium, belgie, belgië, belgique, be", "nnnn"),
    (
        "NL",
        "netherlands, the netherlands, holland, nederland, nl",
        "nnnn aa",
    ),
    ("LU", "luxembourg, lu", "nnnn"),
    ("IE", "ireland, republic of ireland, eire, éire, ie", "?"),
    ("ES", "spain, espana, españa, es", "nnnnn"),
    ("PT", "portugal, pt", "nnnn-nnn"),
    ("IT", "italy, italia, it", "nnnnn"),
    ("SM", "san marino, sm", "nnnnn"),
    ("MC", "monaco, mc", "nnnnn"),
    ("AD", "andorra, ad", "?"),
    ("MT", "malta, mt", "?"),
    ("GR", "greece, gr", "nnn nn"),
    ("CY", "cyprus, cy", "nnnn"),
    ("DK", "denmark, danmark, dk", "nnnn"),
    ("SE", "sweden, sverige, se", "nnn nn"),
    ("NO", "norway, norge, no", "nnnn"),
    ("FI", "finland, suomi, fi", "nnnnn"),
    ("IS", "iceland, is", "nnn"),
    ("EE", "estonia, ee", "nnnnn"),
    ("LV", "latvia, lv", "nnnn"),
    ("LT", "lithuania, lt", "nnnnn"),
    ("PL", "poland, polska, pl", "nn-nnn"),
    ("CZ", "czech republic, czechia, cz", "nnn nn"),
    ("SK", "slovakia, sk", "nnn nn"),
    ("HU", "hungary, hu", "nnnn"),
    ("SI", "slovenia, si", "nnnn"),
    ("HR", "croatia, hr", "nnnnn"),
    ("RS", "serbia, rs", "nnnnn"),
    ("BA", "bosnia and herzegovina, ba", "nnnnn"),
    ("ME", "montenegro, me", "nnnnn"),
    ("MK", "north macedonia, mk", "nnnn"),
    ("AL", "albania, al", "nnnn"),
    ("RO", "romania, ro", "nnnnnn"),
    ("BG", "bulgaria, bg", "nnnn"),
    ("MD", "moldova, md", "nnnn"),
    ("UA", "ukraine, ua", "nnnnn"),
    ("TR", "turkey, turkiye, türkiye, tr", "nnnnn"),
    ("IL", "israel, il", "nnnnnnn"),
    ("AE", "united arab emirates, uae", ""),
    ("SA", "saudi arabia, sa", "nnnnn"),
    ("QA", "qatar, qa", ""),
    ("KW", "kuwait, kw", "nnnnn"),
    ("EG", "egypt, eg", "nnnnn"),
    ("MA", "morocco, ma", "nnnnn"),
    ("ZA", "south africa, za", "nnnn"),
    ("NG", "nigeria, ng", "nnnnnn"),
    ("KE", "kenya, ke", "nnnnn"),
    ("GH", "ghana, gh", "?"),
    ("IN", "india, in", "nnnnnn"),
    ("PK", "pakistan, pk", "nnnnn"),
    ("BD", "bangladesh, bd", "nnnn"),
    ("LK", "sri lanka, lk", "nnnnn"),
    ("NP", "nepal, np", "nnnnn"),
    ("CN", "china, peoples republic of china, cn", "nnnnnn"),
    ("HK", "hong kong, hk", ""),
    ("MO", "macao, macau", ""),
    ("TW", "taiwan, tw", "?"),
    ("JP", "japan, jp", "nnn-nnnn"),
    ("KR", "south korea, korea, republic of korea, kr", "nnnnn"),
    ("SG", "singapore, sg", "nnnnnn"),
    ("MY", "malaysia, my", "nnnnn"),
    ("TH", "thailand, th", "nnnnn"),
    ("VN", "vietnam, viet nam, vn", "?"),
    ("PH", "philippines, the philippines", "nnnn"),
    ("ID", "indonesia, id", "nnnnn"),
    ("AU", "australia, au", "nnnn"),
    ("NZ", "new zealand, nz", "nnnn"),
    ("MX", "mexico, méxico, mx", "nnnnn"),
    ("GT", "guatemala, gt", "nnnnn"),
    ("CR", "costa rica, cr", "nnnnn"),
    ("PA", "panama, panamá", "?"),
    ("CU", "cuba, cu", "nnnnn"),
    ("DO", "dominican republic", "nnnnn"),
    ("JM", "jamaica, jm", "?"),
    ("BS", "bahamas, the bahamas, bs", ""),
    ("BB", "barbados, bb", "?"),
    ("BM", "bermuda, bm", "?"),
    ("KY", "cayman islands", "?"),
    ("VG", "british virgin islands", "?"),
    ("BR", "brazil, brasil, br", "nnnnn-nnn"),
    ("AR", "argentina, ar", "?"),
    ("CL", "chile, cl", "?"),
    ("CO", "colombia, co", "nnnnnn"),
    ("PE", "peru, perú, pe", "nnnnn"),
    ("VE", "venezuela, ve", "nnnn"),
    ("EC", "ecuador, ec", "nnnnnn"),
    ("UY", "uruguay, uy", "nnnnn"),
    ("PY", "paraguay, py", "?"),
    ("BO", "bolivia, bo", ""),
];
