import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.NativeLong;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;

/** What this example needs of blip/c.h, and objects that free what they own. */
final class Blip implements AutoCloseable {
  private static final int ABI_VERSION = 0;

  /**
   * Handles are opaque, options are left at their defaults: both are plain pointers here. size_t is
   * a NativeLong.
   */
  interface C extends Library {
    int blip_abi_version();
    String blip_error_message(Pointer error);
    void blip_error_free(Pointer error);
    int blip_engine_load(String path, Pointer options, PointerByReference engine,
                         PointerByReference error);
    void blip_engine_free(Pointer engine);
    int blip_session_new(Pointer engine, Pointer options, PointerByReference session,
                         PointerByReference error);
    void blip_session_free(Pointer session);
    int blip_image_from_file(String path, Pointer limits, PointerByReference image,
                             PointerByReference error);
    void blip_image_free(Pointer image);
    int blip_session_encode(Pointer session, Pointer[] images, NativeLong count, Pointer[] encoded,
                            PointerByReference error);
    void blip_encoded_free(Pointer encoded);
    int blip_session_caption(Pointer session, Pointer[] images, NativeLong count, Pointer options,
                             PointerByReference captions, PointerByReference error);
    int blip_session_ask(Pointer session, Pointer image, String[] questions, NativeLong count,
                         Pointer options, PointerByReference answers, PointerByReference error);
    Text blip_generations_at(Pointer generations, NativeLong input, NativeLong rank);
    void blip_generations_free(Pointer generations);
    int blip_session_match(Pointer session, Pointer image, String[] texts, NativeLong count,
                           Pointer options, PointerByReference matches, PointerByReference error);
    Pointer blip_matches_probabilities(Pointer matches);
    void blip_matches_free(Pointer matches);
  }

  /** The record blip_text. */
  @Structure.FieldOrder({"structSize", "score", "text", "textBytes", "tokenIds", "tokenCount"})
  public static class Text extends Structure {
    public int structSize;
    public float score;
    public Pointer text;
    public NativeLong textBytes;
    public Pointer tokenIds;
    public NativeLong tokenCount;
  }

  static final class BlipException extends RuntimeException {
    BlipException(String message) { super(message); }
  }

  private interface Call {
    int make(PointerByReference result, PointerByReference error);
  }

  private final C c;
  private final Pointer engine;
  private final Pointer session;

  Blip(String library, String model) {
    c = Native.load(library, C.class, java.util.Map.of(Library.OPTION_STRING_ENCODING, "UTF-8"));
    if (c.blip_abi_version() != ABI_VERSION) {
      throw new BlipException(library + " has another ABI version");
    }
    engine = made((result, error) -> c.blip_engine_load(model, null, result, error));
    session = made((result, error) -> c.blip_session_new(engine, null, result, error));
  }

  @Override
  public void close() {
    c.blip_session_free(session);
    c.blip_engine_free(engine);
  }

  /** The vision tower's view of a picture; free it with {@link #free}. */
  Pointer encode(String path) {
    Pointer image = made((result, error) -> c.blip_image_from_file(path, null, result, error));
    try {
      Pointer[] images = {image};
      Pointer[] encoded = new Pointer[1];
      PointerByReference error = new PointerByReference();
      check(c.blip_session_encode(session, images, new NativeLong(1), encoded, error), error);
      return encoded[0];
    } finally {
      c.blip_image_free(image);
    }
  }

  void free(Pointer encoded) { c.blip_encoded_free(encoded); }

  String caption(Pointer encoded) {
    Pointer[] images = {encoded};
    Pointer captions = made((result, error) ->
        c.blip_session_caption(session, images, new NativeLong(1), null, result, error));
    try {
      return text(captions, 0);
    } finally {
      c.blip_generations_free(captions);
    }
  }

  float[] match(Pointer encoded, String... texts) {
    NativeLong count = new NativeLong(texts.length);
    Pointer matches = made((result, error) ->
        c.blip_session_match(session, encoded, texts, count, null, result, error));
    try {
      return c.blip_matches_probabilities(matches).getFloatArray(0, texts.length);
    } finally {
      c.blip_matches_free(matches);
    }
  }

  String[] ask(Pointer encoded, String... questions) {
    NativeLong count = new NativeLong(questions.length);
    Pointer answers = made((result, error) ->
        c.blip_session_ask(session, encoded, questions, count, null, result, error));
    try {
      String[] texts = new String[questions.length];
      for (int i = 0; i < texts.length; i++) texts[i] = text(answers, i);
      return texts;
    } finally {
      c.blip_generations_free(answers);
    }
  }

  private String text(Pointer generations, int input) {
    Text best = c.blip_generations_at(generations, new NativeLong(input), new NativeLong(0));
    return new String(best.text.getByteArray(0, best.textBytes.intValue()), StandardCharsets.UTF_8);
  }

  private Pointer made(Call call) {
    PointerByReference result = new PointerByReference();
    PointerByReference error = new PointerByReference();
    check(call.make(result, error), error);
    return result.getValue();
  }

  private void check(int status, PointerByReference error) {
    if (status == 0) return;
    String message = c.blip_error_message(error.getValue());
    c.blip_error_free(error.getValue());
    throw new BlipException(message);
  }
}
