//! Captions a picture, says how well texts fit it, and asks about it.
//! usage: describe MODEL PICTURE
mod blip;

fn describe(model: &str, picture: &str) -> Result<(), String> {
    let mut session = blip::Session::load(model)?;
    let encoded = session.encode(picture)?;
    println!("caption: {}", session.caption(&encoded)?);
    let texts = ["a cat to the left of a bus", "a cat to the right of a bus"];
    for (text, probability) in texts.iter().zip(session.matches(&encoded, &texts)?) {
        println!("match: {probability:.4} {text}");
    }
    let questions = [
        "what is to the right of the cat?",
        "what color is the background?",
    ];
    for (question, answer) in questions.iter().zip(session.ask(&encoded, &questions)?) {
        println!("answer: {question} {answer}");
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 3 {
        eprintln!("usage: describe MODEL PICTURE");
        std::process::exit(2);
    }
    if let Err(message) = describe(&arguments[1], &arguments[2]) {
        eprintln!("describe: {message}");
        std::process::exit(1);
    }
}
