use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

/// The key, time and scope of AWS's test suite.
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SCOPE: &str = "20150830/us-east-1/service/aws4_request";
const TIME: &str = "20150830T123600Z";
const NOW: i64 = 1_440_938_160;
const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

struct Signed {
    method: String,
    target: String,
    headers: HeaderMap,
    host: String,
    body: &'static str,
}

impl Signed {
    fn new(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("example.amazonaws.com"));
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: map,
            host: "example.amazonaws.com".to_owned(),
            body: "",
        }
    }

    /// With a signature in the header.
    fn authorized(mut self, signed: &str, signature: &str) -> Self {
        let text =
            format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{SCOPE}, SignedHeaders={signed}, Signature={signature}");
        self.headers.insert("authorization", text.parse().unwrap());
        self.headers.insert("x-amz-date", HeaderValue::from_static(TIME));
        self
    }

    fn request(&self) -> Request<'_> {
        let (path, query) =
            self.target.split_once('?').map_or((self.target.as_str(), None), |(path, query)| (path, Some(query)));
        Request { method: &self.method, path, query, headers: &self.headers, host: &self.host }
    }

    fn verify(&self) -> Result<(), SignatureError> {
        let request = self.request();
        let claim = Claim::of(&request)?;
        assert_eq!(claim.access_key_id, "AKIDEXAMPLE");
        claim.check("us-east-1", "service", NOW)?;
        claim.verify(&request, &payload_digest(self.body.as_bytes()), &Secret::new(KEY))
    }
}

const SHORT: &str = "host;x-amz-date";
const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Method, target, headers, names of the signed ones, signature.
type Vector<'v> = (&'v str, &'v str, &'v [(&'v str, &'v str)], &'v str, &'v str);

/// The signatures that AWS's published test suite gives for these requests. A path of the suite is not percent-encoded; its characters are
/// encoded once, as ours are that come encoded are once more.
///
/// Proves H-IAM-1, H-IAM-2, H-IAM-6.
#[test]
fn the_published_vectors_of_headers() {
    let unreserved_path = format!("/{UNRESERVED}");
    let unreserved_query = format!("/?{UNRESERVED}={UNRESERVED}");
    let my = "host;my-header1;x-amz-date";
    let one = |value| ("My-Header1", value);
    let vectors: &[Vector<'_>] = &[
        (
            "GET",
            "/",
            &[one("value2"), one("value2"), one("value1")],
            my,
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "GET",
            "/",
            &[one("value1,value2,value3")],
            my,
            "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790",
        ),
        (
            "GET",
            "/",
            &[one("value4"), one("value1"), one("value3"), one("value2")],
            my,
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        ),
        (
            "GET",
            "/",
            &[one(" value1"), ("My-Header2", " \"a   b   c\"")],
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "GET",
            "/example1/example2/../..",
            &[],
            SHORT,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        ("GET", "/./", &[], SHORT, "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"),
        ("GET", "//example//", &[], SHORT, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        ("GET", "//example//", &[], SHORT, "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"),
        ("GET", "/example space/", &[], SHORT, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        ("GET", &unreserved_path, &[], SHORT, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("GET", "/ሴ", &[], SHORT, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET", "/?Param1=value1", &[], SHORT, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        (
            "GET",
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            &[],
            SHORT,
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            SHORT,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("GET", &unreserved_query, &[], SHORT, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        ("GET", "/?ሴ=bar", &[], SHORT, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        (
            "GET",
            "/",
            &[("X-Amz-Security-Token", TOKEN)],
            "host;x-amz-date;x-amz-security-token",
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ),
        ("POST", "/", &[], SHORT, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", "/?Param1=value1", &[], SHORT, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ];
    for (method, target, headers, signed, signature) in vectors {
        let request = Signed::new(method, target, headers).authorized(signed, signature);
        assert_eq!(request.verify(), Ok(()), "{method} {target} {headers:?}");
    }
    let digest = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Length", "13"),
        ("x-amz-content-sha256", digest),
    ];
    let mut form = Signed::new("POST", "/", &headers).authorized(
        "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    );
    form.body = "Param1=value1";
    assert_eq!(form.verify(), Ok(()));
    form.body = "Param1=value2";
    assert_eq!(form.verify(), Err(SignatureError::Payload));
}

fn presigned(path: &str, more: &str, signed: &str, signature: &str) -> String {
    format!(
        "{path}?{more}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request\
         &X-Amz-Date={TIME}&X-Amz-SignedHeaders={signed}&X-Amz-Expires=3600&X-Amz-Signature={signature}"
    )
}

/// Proves H-IAM-2.
#[test]
fn the_published_vectors_of_queries() {
    let token = format!("X-Amz-Security-Token={TOKEN}&");
    for (path, more, headers, signed, signature) in [
        ("/", token.as_str(), &[][..], "host", "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"),
        (
            "/",
            "Param2=value2&Param1=value1&",
            &[],
            "host",
            "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
        ),
        (
            "/",
            "",
            &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            "host%3Bmy-header1%3Bmy-header2",
            "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4",
        ),
        ("//example//", "", &[], "host", "822a5a9ba28072c5ab2bb4a6307d0c88276d40e49fec6b724c03fb4d4ba60fc2"),
    ] {
        let request = Signed::new("GET", &presigned(path, more, signed, signature), headers);
        assert_eq!(request.verify(), Ok(()), "{path} {more}");
    }
}

const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

fn vanilla() -> Signed {
    Signed::new("GET", "/", &[]).authorized(SHORT, VANILLA)
}

/// Proves H-IAM-3.
#[test]
fn any_change_breaks_the_signature() {
    assert_eq!(vanilla().verify(), Ok(()));
    let changed = |change: fn(&mut Signed)| {
        let mut request = vanilla();
        change(&mut request);
        request.verify()
    };
    let wrong = Err(SignatureError::Signature);
    assert_eq!(changed(|request| request.method = "POST".to_owned()), wrong);
    assert_eq!(changed(|request| request.target = "/a".to_owned()), wrong);
    assert_eq!(changed(|request| request.target = "/?a".to_owned()), wrong);
    assert_eq!(changed(|request| request.host = "other.example".to_owned()), wrong);
    assert_eq!(changed(|request| request.body = "x"), wrong);
    let late = |request: &mut Signed| {
        request.headers.insert("x-amz-date", HeaderValue::from_static("20150830T123601Z"));
    };
    assert_eq!(changed(late), wrong);
    let unsigned = |request: &mut Signed| {
        request.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    };
    assert_eq!(changed(unsigned), Err(SignatureError::Payload));
    let request = vanilla();
    let claim = Claim::of(&request.request()).unwrap();
    let other = claim.verify(&request.request(), &payload_digest(b""), &Secret::new("other"));
    assert_eq!(other, wrong);
    // A header that is said to be signed has to be there.
    assert_eq!(
        Signed::new("GET", "/", &[]).authorized("host;x-a;x-amz-date", VANILLA).verify(),
        Err(SignatureError::Format)
    );
}

/// Proves H-IAM-1, H-IAM-3.
#[test]
fn times_and_scopes() {
    let request = vanilla();
    let claim = Claim::of(&request.request()).unwrap();
    for (now, good) in
        [(NOW, true), (NOW + 300, true), (NOW + 301, false), (NOW - 300, true), (NOW - 301, false), (0, false)]
    {
        assert_eq!(claim.check("us-east-1", "service", now).is_ok(), good, "{now}");
    }
    for (region, service) in [("us-east-2", "service"), ("us-east-1", "execute-api"), ("", "service")] {
        assert!(matches!(claim.check(region, service, NOW), Err(SignatureError::Scope { .. })), "{region} {service}");
    }
    let query = Signed::new("GET", &presigned("/", "", "host", VANILLA), &[]);
    let claim = Claim::of(&query.request()).unwrap();
    for (now, good) in [(NOW + 3600, true), (NOW + 3601, false), (NOW - 300, true), (NOW - 301, false)] {
        assert_eq!(claim.check("us-east-1", "service", now).is_ok(), good, "{now}");
    }
}

/// Proves H-IAM-4.
#[test]
fn what_is_no_signature() {
    let format = |request: &Signed| Claim::of(&request.request()).err();
    assert_eq!(format(&Signed::new("GET", "/", &[])), Some(SignatureError::Format));
    assert_eq!(
        SignatureError::Format.to_string(),
        "The request for the IAM Authorizer doesn't match the format that API Gateway expects."
    );
    let credential = format!("Credential=AKIDEXAMPLE/{SCOPE}");
    let good = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={SHORT}, Signature={VANILLA}");
    for (broken, is_bad) in [
        (good.clone(), false),
        (good.replace(", ", ","), false),
        (good.replace("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "), true),
        (good.replace("AWS4-HMAC-SHA256 ", ""), true),
        (good.replace(VANILLA, &VANILLA[1..]), true),
        (good.replace(VANILLA, &VANILLA.replace('5', "g")), true),
        (good.replace(SHORT, "x-amz-date"), true),
        (good.replace(SHORT, "x-amz-date;host"), true),
        (good.replace(SHORT, "host;host"), true),
        (good.replace(SHORT, "Host;x-amz-date"), true),
        (good.replace(SHORT, ""), true),
        (good.replace(&credential, "Credential=AKIDEXAMPLE"), true),
        (format!("{good}, Signature={VANILLA}"), true),
        (format!("{good}, Else=1"), true),
        ("Bearer token".to_owned(), true),
    ] {
        let mut request = vanilla();
        request.headers.insert("authorization", broken.parse().unwrap());
        assert_eq!(format(&request).is_some(), is_bad, "{broken}");
    }
    for (date, is_bad) in [("20150830T123600Z", false), ("2015-08-30T12:36:00Z", true), ("20150830", true), ("", true)]
    {
        let mut request = vanilla();
        request.headers.insert("x-amz-date", date.parse().unwrap());
        assert_eq!(format(&request).is_some(), is_bad, "{date}");
    }
    let mut dated = vanilla();
    dated.headers.remove("x-amz-date");
    assert_eq!(format(&dated), Some(SignatureError::Format));
    dated.headers.insert("date", HeaderValue::from_static("Sun, 30 Aug 2015 12:36:00 GMT"));
    assert_eq!(&*Claim::of(&dated.request()).unwrap().time, TIME);

    let good = presigned("/", "", "host", VANILLA);
    for (target, is_bad) in [
        (good.clone(), false),
        (good.replace("Expires=3600", "Expires=0"), true),
        (good.replace("Expires=3600", "Expires=604801"), true),
        (good.replace("&X-Amz-Expires=3600", ""), true),
        (good.replace("HMAC", "ECDSA"), true),
        (format!("{good}&X-Amz-Date={TIME}"), true),
    ] {
        assert_eq!(format(&Signed::new("GET", &target, &[])).is_some(), is_bad, "{target}");
    }
    let mut both = vanilla();
    both.target = good;
    assert_eq!(format(&both), Some(SignatureError::Format));
}

/// Proves H-IAM-6.
#[test]
fn encoded_paths_are_encoded_once_more() {
    assert_eq!(canonical::path("/a%20b/é"), "/a%2520b/%C3%A9");
    assert_eq!(canonical::path(""), "/");
    for (sent, normal) in
        [("//a//b/", "/a/b/"), ("/a/./b/../c", "/a/c"), ("/..", "/"), ("", "/"), ("/a", "/a"), ("/a/", "/a/")]
    {
        assert_eq!(canonical::normal_path(sent), normal, "{sent}");
    }
}
