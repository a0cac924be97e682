//! The head of a request, however it is cut: what hyper would take for one with two ends is seen as
//! such.

use foghorn::web::has_two_ends;

pub fn run(data: &[u8]) {
    let Some((&cut, head)) = data.split_first() else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = request.parse(head) else {
        // Not whole, or refused by hyper: any answer will do, but one there must be.
        let _ = has_two_ends(head, usize::from(cut));
        return;
    };
    let has = |name: &str| {
        request
            .headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name))
    };
    let both = has("transfer-encoding") && has("content-length");
    let head = &head[..length];
    for size in [
        usize::from(cut).max(1),
        if length < 400 { 1 } else { 33 },
        length,
    ] {
        assert!(
            !both || has_two_ends(head, size),
            "not seen in parts of {size}: {:?}",
            String::from_utf8_lossy(head)
        );
    }
}
