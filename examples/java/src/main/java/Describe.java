import com.sun.jna.Pointer;
import java.util.Locale;

/** Captions a picture, says how well texts fit it, and asks about it. Arguments: MODEL PICTURE. */
public final class Describe {
  public static void main(String[] arguments) {
    if (arguments.length != 2) {
      System.err.println("usage: describe MODEL PICTURE");
      System.exit(2);
    }
    String library = System.getenv().getOrDefault("BLIP_LIBRARY", "libblip.so.0");
    try (Blip blip = new Blip(library, arguments[0])) {
      Pointer picture = blip.encode(arguments[1]);
      System.out.println("caption: " + blip.caption(picture));
      String[] texts = {"a cat to the left of a bus", "a cat to the right of a bus"};
      float[] probabilities = blip.match(picture, texts);
      for (int i = 0; i < texts.length; i++) {
        System.out.printf(Locale.ROOT, "match: %.4f %s%n", probabilities[i], texts[i]);
      }
      String[] questions = {"what is to the right of the cat?", "what color is the background?"};
      String[] answers = blip.ask(picture, questions);
      for (int i = 0; i < questions.length; i++) {
        System.out.println("answer: " + questions[i] + " " + answers[i]);
      }
      blip.free(picture);
    } catch (Blip.BlipException | UnsatisfiedLinkError problem) {
      System.err.println("describe: " + problem.getMessage());
      System.exit(1);
    }
  }
}
