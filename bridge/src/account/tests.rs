use super::*;
use crate::ledger::Home;

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const WORDS: &str = "four random words here";

struct House {
    accounts: Accounts,
    folder: std::path::PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn house() -> House {
    let folder = std::env::temp_dir().join(format!("sotto-accounts-{:016x}", rand::random::<u64>()));
    let home = Home { file: folder.join("ledger.db"), key_file: folder.join("ledger.key") };
    House { accounts: Accounts::new(Ledger::open(&home).unwrap()).unwrap(), folder }
}

fn given(login: &str, password: &str, otp: Option<&str>) -> Credentials {
    let own = |text: &str| Zeroizing::new(text.to_owned());
    Credentials { login: own(login), password: own(password), otp: otp.map(str::to_owned) }
}

#[tokio::test]
async fn who_has_an_account_signs_in_with_its_password_alone() {
    let house = house();
    let accounts = &house.accounts;
    let id =
        accounts.add("Ada@example.com", Some(WORDS), Role::Host, Some(vec!["board".into()])).await.unwrap();
    let sign_in = async |login: &str, password: &str| {
        accounts.sign_in(given(login, password, None), FROM, SystemTime::now()).await
    };
    let account = sign_in(" ada@EXAMPLE.com ", WORDS).await.unwrap();
    assert_eq!((&account.id, account.role), (&id, Role::Host));
    assert_eq!(account.conferences, Some(vec!["board".into()]));
    for (login, password) in
        [("ada@example.com", "four random words her"), ("bob@example.com", WORDS), ("", "")]
    {
        assert!(matches!(sign_in(login, password).await, Err(SignInError::Wrong)), "{login}");
    }
    let again = accounts.add("ADA@example.com", Some(WORDS), Role::Host, None).await;
    assert!(matches!(again, Err(AccountError::Taken)));
    let standing = accounts.standing().await.unwrap();
    assert_eq!(standing.get(&id), Some(&account.version));
    accounts.set_password("ada@example.com", "other random words").await.unwrap();
    assert!(sign_in("ada@example.com", WORDS).await.is_err());
    let later = sign_in("ada@example.com", "other random words").await.unwrap();
    assert!(later.version > account.version, "what was open before is over");
    accounts.set_disabled("ada@example.com", true).await.unwrap();
    assert!(sign_in("ada@example.com", "other random words").await.is_err());
    assert!(accounts.standing().await.unwrap().is_empty());
    accounts.set_disabled("ada@example.com", false).await.unwrap();
    let listed = accounts.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].login.as_str(), listed[0].totp), (1, "Ada@example.com", false));
    accounts.remove("ada@example.com").await.unwrap();
    assert!(matches!(accounts.remove("ada@example.com").await, Err(AccountError::Unknown)));
    assert!(accounts.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_one_time_password_is_good_once_and_asked_for_by_the_right_password_alone() {
    let house = house();
    let accounts = &house.accounts;
    accounts.add("ada", Some(WORDS), Role::Admin, None).await.unwrap();
    let uri = accounts.set_totp("ada", "Sotto").await.unwrap();
    assert!(uri.starts_with("otpauth://totp/Sotto:ada?secret="), "{}", &*uri);
    let secret: Vec<u8> = accounts
        .ledger
        .run(|db| db.query_row("SELECT totp FROM account", [], |row| row.get(0)))
        .await
        .unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let word = |step: u64| format!("{:06}", otp(&secret, 1_800_000_000 / STEP + step));
    let sign_in = async |password: &str, otp: Option<&str>, after: u64| {
        accounts.sign_in(given("ada", password, otp), FROM, at + Duration::from_secs(after)).await
    };
    assert!(matches!(sign_in(WORDS, None, 0).await, Err(SignInError::OtpNeeded)));
    assert!(matches!(sign_in("not her random words", None, 0).await, Err(SignInError::Wrong)));
    assert!(matches!(sign_in(WORDS, Some(&word(2)), 0).await, Err(SignInError::Wrong)), "a minute too early");
    let spaced = format!("{} {}", &word(0)[..3], &word(0)[3..]);
    assert!(sign_in(WORDS, Some(&spaced), 0).await.is_ok());
    assert!(matches!(sign_in(WORDS, Some(&word(0)), 1).await, Err(SignInError::Wrong)), "used");
    assert!(sign_in(WORDS, Some(&word(1)), 1).await.is_ok(), "a clock that is fast");
    accounts.clear_totp("ada").await.unwrap();
    assert!(sign_in(WORDS, None, 2).await.is_ok());
}

#[tokio::test]
async fn a_token_is_good_for_no_more_than_its_account_and_as_long() {
    let house = house();
    let accounts = &house.accounts;
    let all = Some(vec!["board".to_owned(), "hall".to_owned()]);
    let ada = accounts.add("ada", Some(WORDS), Role::Host, all.clone()).await.unwrap();
    let some = Some(vec!["hall".to_owned(), "foreign".to_owned()]);
    let day = Duration::from_secs(86_400);
    let id = accounts.add_token(&ada, [7; 32], some, day).await.unwrap();
    accounts.add_token(&ada, [8; 32], None, day).await.unwrap();
    let mut tokens = accounts.tokens().await.unwrap();
    tokens.sort_by_key(|token| token.hash);
    assert_eq!((tokens[0].hash, tokens[0].role), ([7; 32], Role::Host));
    assert_eq!((&tokens[0].conferences, &tokens[1].conferences), (&Some(vec!["hall".to_owned()]), &all));
    assert!(tokens[0].expires_at > SystemTime::now() + day - Duration::from_secs(60));
    assert_eq!(accounts.tokens_of(&ada).await.unwrap().len(), 2);
    assert!(!accounts.remove_token("u_other", &id).await.unwrap(), "not another's");
    assert!(
        accounts.remove_token(&ada, &id).await.unwrap() && !accounts.remove_token(&ada, &id).await.unwrap()
    );
    accounts.set_disabled("ada", true).await.unwrap();
    assert!(accounts.tokens().await.unwrap().is_empty());
    accounts.set_disabled("ada", false).await.unwrap();
    accounts.remove("ada").await.unwrap();
    assert!(accounts.tokens_of(&ada).await.unwrap().is_empty(), "they go with it");
}

#[tokio::test]
async fn who_guesses_waits_and_learns_nothing_of_who_has_an_account() {
    let house = house();
    house.accounts.add("ada", Some(WORDS), Role::Host, None).await.unwrap();
    for login in ["ada", "bob"] {
        let mut answers = Vec::new();
        for _ in 0..7 {
            let answer = house
                .accounts
                .sign_in(given(login, "wrong wrong wrong", None), FROM, SystemTime::now())
                .await;
            answers.push(answer.err().map(|e| std::mem::discriminant(&e)));
        }
        let wrong = Some(std::mem::discriminant(&SignInError::Wrong));
        let wait = Some(std::mem::discriminant(&SignInError::Wait(Duration::ZERO)));
        assert_eq!(answers, [wrong, wrong, wrong, wrong, wrong, wrong, wait], "{login}");
    }
    let right = house.accounts.sign_in(given("ada", WORDS, None), FROM, SystemTime::now()).await;
    assert!(matches!(right, Err(SignInError::Wait(_))), "nor does the right one come in then");
}

#[tokio::test]
async fn names_and_passwords_that_are_none() {
    let house = house();
    let add =
        async |login: &str, password: &str, role| house.accounts.add(login, Some(password), role, None).await;
    assert!(matches!(add(" ", WORDS, Role::Host).await, Err(AccountError::Login)));
    assert!(matches!(add("a\nb", WORDS, Role::Host).await, Err(AccountError::Login)));
    assert!(matches!(add("ada", "short words", Role::Host).await, Err(AccountError::Password)));
    assert!(matches!(add("ada", &"long".repeat(100), Role::Host).await, Err(AccountError::Password)));
    assert!(matches!(add("ada", WORDS, Role::Guest).await, Err(AccountError::Role)));
    assert!(matches!(house.accounts.set_password("ada", WORDS).await, Err(AccountError::Unknown)));
}

#[test]
fn one_time_passwords_are_those_of_the_rfc() {
    // RFC 6238 appendix B, of whose eight digits the last six are ours.
    let secret = b"12345678901234567890";
    for (time, word) in
        [(59, 287_082), (1_111_111_109, 81_804), (1_234_567_890, 5_924), (20_000_000_000, 353_130)]
    {
        assert_eq!(otp(secret, time / STEP), word, "{time}");
    }
    assert_eq!(base32(b"12345678901234567890"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    assert_eq!(base32(b"f"), "MY");
}
