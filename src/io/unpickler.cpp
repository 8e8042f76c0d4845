#include "io/unpickler.h"

#include <algorithm>
#include <utility>

#include "blip/error.h"
#include "io/bytes.h"
#include "io/pickle_names.h"

namespace blip::io {
namespace {

// Far above what checkpoints need (a BLIP with optimizer state builds about 30,000 values), and low
// enough that the worst pickle stays under 200 MB of memory.
constexpr std::size_t kMaxPickle = std::size_t{16} << 20;
constexpr std::size_t kMaxValues = std::size_t{1} << 20;
// Opcodes that copy or scan a value which an earlier one built could do so for ever with few bytes;
// together they may touch this many items.
constexpr std::uint64_t kMaxWork = std::uint64_t{1} << 24;
constexpr std::size_t kMaxStorageKey = 256;

// Opcodes by the names of Python's pickletools, which also documents them.
enum Op : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinString = 'T',
  kShortBinString = 'U',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinBytes8 = 0x8e,
  kEmptyList = ']',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kList = 'l',
  kTuple = 't',
  kDict = 'd',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kAppend = 'a',
  kAppends = 'e',
  kSetItem = 's',
  kSetItems = 'u',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
  kProto = 0x80,
  kFrame = 0x95,
};

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> data, const std::string& file) : reader_(data, file) {
    if (data.size() > kMaxPickle) {
      reader_.fail("the pickle takes " + std::to_string(data.size()) + " bytes, at most " +
                   std::to_string(kMaxPickle) + " are read");
    }
  }

  Pickle run() {
    if (reader_.read<std::uint8_t>("the pickle") != kProto)
      reader_.fail("no pickle of protocol 2 or later");
    const auto protocol = reader_.read<std::uint8_t>("the protocol");
    if (protocol < 2 || protocol > 5)
      reader_.fail("pickle protocol " + std::to_string(protocol) +
                   " is not supported (2 to 5 are)");
    for (;;) {
      const auto opcode = reader_.read<std::uint8_t>("the pickle (no STOP)");
      if (opcode == kStop) break;
      const bool known = scalar(opcode) || container(opcode) || memory(opcode) || object(opcode);
      if (!known) refuse_opcode(opcode);
    }
    pickle_.root = pop();
    if (!stack_.empty() || !marks_.empty())
      reader_.fail("values are left over at the end of the pickle");
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void refuse_opcode(std::uint8_t opcode) {
    constexpr std::pair<std::uint8_t, const char*> kNames[] = {
        {'i', "INST"},        {'o', "OBJ"},          {0x81, "NEWOBJ"},
        {0x92, "NEWOBJ_EX"},  {0x82, "EXT1"},        {0x83, "EXT2"},
        {0x84, "EXT4"},       {'P', "PERSID"},       {'I', "INT"},
        {'L', "LONG"},        {'F', "FLOAT"},        {'S', "STRING"},
        {'V', "UNICODE"},     {'g', "GET"},          {'p', "PUT"},
        {0x8f, "EMPTY_SET"},  {0x90, "ADDITEMS"},    {0x91, "FROZENSET"},
        {0x96, "BYTEARRAY8"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
    std::string name = "number " + std::to_string(opcode);
    for (const auto& [code, text] : kNames) {
      if (code == opcode) name = text;
    }
    reader_.fail("the pickle opcode " + name +
                 " is refused: only tensors and plain values are read, nothing is executed" +
                 kAdvice);
  }

  // Opcodes that push one plain value.
  bool scalar(std::uint8_t opcode) {
    switch (opcode) {
      case kNone:
        push({});
        return true;
      case kNewTrue:
        push_integer(ValueKind::boolean, 1);
        return true;
      case kNewFalse:
        push_integer(ValueKind::boolean, 0);
        return true;
      case kBinInt:
        push_integer(ValueKind::integer, reader_.read<std::int32_t>("BININT"));
        return true;
      case kBinInt1:
        push_integer(ValueKind::integer, reader_.read<std::uint8_t>("BININT1"));
        return true;
      case kBinInt2:
        push_integer(ValueKind::integer, reader_.read<std::uint16_t>("BININT2"));
        return true;
      case kLong1:
        push_long(reader_.read<std::uint8_t>("LONG1"));
        return true;
      case kLong4:
        push_long(reader_.read<std::uint32_t>("LONG4"));
        return true;
      case kBinFloat:
        push_real();
        return true;
      case kShortBinUnicode:
      case kShortBinString:
      case kShortBinBytes:
        push_text(reader_.read<std::uint8_t>("a string length"));
        return true;
      case kBinUnicode:
      case kBinString:
      case kBinBytes:
        push_text(reader_.read<std::uint32_t>("a string length"));
        return true;
      case kBinUnicode8:
      case kBinBytes8:
        push_text(reader_.read<std::uint64_t>("a string length"));
        return true;
      default:
        return false;
    }
  }

  bool container(std::uint8_t opcode) {
    switch (opcode) {
      case kMark:
        check_room(marks_.size());
        marks_.push_back(stack_.size());
        return true;
      case kEmptyList:
        push_items(ValueKind::list, {});
        return true;
      case kEmptyTuple:
        push_items(ValueKind::tuple, {});
        return true;
      case kEmptyDict:
        push_items(ValueKind::dict, {});
        return true;
      case kList:
        push_items(ValueKind::list, pop_to_mark());
        return true;
      case kTuple:
        push_items(ValueKind::tuple, pop_to_mark());
        return true;
      case kDict: {
        std::vector<ValueRef> items = pop_to_mark();
        check_pairs(items);
        push_items(ValueKind::dict, std::move(items));
        return true;
      }
      case kTuple1:
      case kTuple2:
      case kTuple3: {
        std::vector<ValueRef> items(opcode - kTuple1 + std::size_t{1});
        for (auto item = items.rbegin(); item != items.rend(); ++item) *item = pop();
        push_items(ValueKind::tuple, std::move(items));
        return true;
      }
      case kAppend:
        extend(ValueKind::list, {pop()});
        return true;
      case kAppends:
        extend(ValueKind::list, pop_to_mark());
        return true;
      case kSetItem: {
        const ValueRef value = pop(), key = pop();
        extend(ValueKind::dict, {key, value});
        return true;
      }
      case kSetItems: {
        const std::vector<ValueRef> items = pop_to_mark();
        check_pairs(items);
        extend(ValueKind::dict, items);
        return true;
      }
      default:
        return false;
    }
  }

  // The stack, the memo and framing.
  bool memory(std::uint8_t opcode) {
    switch (opcode) {
      case kPop:
        // Python's pickler writes POP for a mark it no longer needs, too.
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      case kDup:
        push_ref(top());
        return true;
      case kBinGet:
        push_ref(remembered(reader_.read<std::uint8_t>("BINGET")));
        return true;
      case kLongBinGet:
        push_ref(remembered(reader_.read<std::uint32_t>("LONG_BINGET")));
        return true;
      case kBinPut:
        remember(reader_.read<std::uint8_t>("BINPUT"));
        return true;
      case kLongBinPut:
        remember(reader_.read<std::uint32_t>("LONG_BINPUT"));
        return true;
      case kMemoize:
        remember(memo_size_);
        return true;
      case kProto:
        reader_.fail("a second protocol mark");
      case kFrame:
        (void)reader_.read<std::uint64_t>("FRAME");
        return true;  // a hint for buffering only
      default:
        return false;
    }
  }

  bool object(std::uint8_t opcode) {
    switch (opcode) {
      case kGlobal: {
        const std::string_view module = read_line(), name = read_line();
        push_name(module, name);
        return true;
      }
      case kStackGlobal: {
        const ValueRef name = pop(), module = pop();
        if (at(name).kind != ValueKind::text || at(module).kind != ValueKind::text)
          reader_.fail("STACK_GLOBAL without two strings");
        work(at(module).text.size() + at(name).text.size());
        push_name(std::string(at(module).text), std::string(at(name).text));
        return true;
      }
      case kReduce: {
        const ValueRef arguments = pop(), function = pop();
        call(function, arguments);
        return true;
      }
      case kBuild: {
        // The attributes of an OrderedDict (a state dict carries "_metadata"): no use here, and
        // nothing is run.
        pop();
        if (at(top()).kind != ValueKind::dict)
          reader_.fail("BUILD sets the state of something that is no dict; refused");
        return true;
      }
      case kBinPersId:
        push_storage(pop());
        return true;
      default:
        return false;
    }
  }

  void call(ValueRef function, ValueRef arguments) {
    if (at(function).kind != ValueKind::callable)
      reader_.fail("REDUCE calls something that is no function");
    if (at(arguments).kind != ValueKind::tuple) reader_.fail("REDUCE without a tuple of arguments");
    work(at(arguments).items.size());
    // a copy: building may move the values
    const std::vector<ValueRef> items = at(arguments).items;
    switch (kPickleNames[at(function).callable].callable) {
      case Callable::ordered_dict:
        return build_ordered_dict(items);
      case Callable::rebuild_tensor:
        return build_tensor(items, false);
      case Callable::rebuild_tensor_v3:
        return build_tensor(items, true);
      case Callable::rebuild_parameter:
        if (items.empty() || at(items[0]).kind != ValueKind::tensor)
          reader_.fail("a parameter without its tensor");
        return push_ref(items[0]);
      case Callable::size:
        if (items.size() != 1 ||
            (at(items[0]).kind != ValueKind::list && at(items[0]).kind != ValueKind::tuple)) {
          reader_.fail("torch.Size without a list");
        }
        work(at(items[0]).items.size());
        return push_items(ValueKind::tuple, at(items[0]).items);
      case Callable::device:
        return push(Value{.kind = ValueKind::opaque});
      case Callable::storage_type:
      case Callable::dtype:
        break;
    }
    reader_.fail("REDUCE calls a storage type or dtype; refused");
  }

  // OrderedDict() or OrderedDict([(key, value), ...])
  void build_ordered_dict(const std::vector<ValueRef>& arguments) {
    std::vector<ValueRef> items;
    if (arguments.size() > 1)
      reader_.fail("OrderedDict with " + std::to_string(arguments.size()) + " arguments");
    if (!arguments.empty()) {
      if (at(arguments[0]).kind != ValueKind::list)
        reader_.fail("OrderedDict of something that is no list");
      work(at(arguments[0]).items.size());
      for (const ValueRef pair : at(arguments[0]).items) {
        const Value& both = at(pair);
        const bool two = (both.kind == ValueKind::list || both.kind == ValueKind::tuple) &&
                         both.items.size() == 2;
        if (!two) reader_.fail("OrderedDict of something that is no pair");
        items.insert(items.end(), both.items.begin(), both.items.end());
      }
    }
    push_items(ValueKind::dict, std::move(items));
  }

  // Only the kinds are checked here; whether size, stride and offset fit the storage is checked
  // when the tensor is used.
  void build_tensor(const std::vector<ValueRef>& arguments, bool with_dtype) {
    const bool kinds = arguments.size() >= (with_dtype ? 7u : 4u) &&
                       at(arguments[0]).kind == ValueKind::storage &&
                       at(arguments[1]).kind == ValueKind::integer && is_integers(arguments[2]) &&
                       is_integers(arguments[3]);
    if (!kinds) reader_.fail("a tensor's description is not (storage, offset, size, stride, ...)");
    Value tensor{.kind = ValueKind::tensor,
                 .element = at(arguments[0]).element,
                 .integer = at(arguments[1]).integer};
    if (with_dtype) {
      const Value& dtype = at(arguments[6]);
      if (dtype.kind != ValueKind::callable ||
          kPickleNames[dtype.callable].callable != Callable::dtype) {
        reader_.fail("a tensor's dtype is none");
      }
      tensor.element = kPickleNames[dtype.callable].element;
    }
    tensor.items = {arguments[0], arguments[2], arguments[3]};
    push(std::move(tensor));
  }

  bool is_integers(ValueRef ref) {
    work(at(ref).items.size());
    return at(ref).kind == ValueKind::tuple &&
           std::all_of(at(ref).items.begin(), at(ref).items.end(),
                       [this](ValueRef item) { return at(item).kind == ValueKind::integer; });
  }

  // ("storage", storage type, key, location, number of elements)
  void push_storage(ValueRef id) {
    const std::vector<ValueRef>& parts = at(id).items;
    const bool good =
        at(id).kind == ValueKind::tuple && parts.size() == 5 && at(parts[0]).text == "storage" &&
        at(parts[1]).kind == ValueKind::callable && at(parts[2]).kind == ValueKind::text &&
        at(parts[2]).text.size() <= kMaxStorageKey && at(parts[4]).kind == ValueKind::integer;
    if (!good) reader_.fail("a persistent id is not (\"storage\", type, key, location, count)");
    const PickleName& type = kPickleNames[at(parts[1]).callable];
    if (type.callable != Callable::storage_type)
      reader_.fail("a storage whose type is no storage type");
    push(Value{.kind = ValueKind::storage,
               .element = type.element,
               .integer = at(parts[4]).integer,
               .text = at(parts[2]).text});
  }

  void push_name(std::string_view module, std::string_view name) {
    for (std::size_t i = 0; i < std::size(kPickleNames); ++i) {
      if (kPickleNames[i].module != module || kPickleNames[i].name != name) continue;
      return push(Value{.kind = ValueKind::callable, .callable = static_cast<std::uint8_t>(i)});
    }
    reader_.fail("the pickle asks for " + quote(std::string(module) + "." + std::string(name)) +
                 ", which is refused: only tensors and plain values are read, nothing is executed" +
                 kAdvice);
  }

  std::string_view read_line() {
    std::size_t length = 0;
    const std::span<const std::byte> start = rest();
    while (length < start.size() && start[length] != std::byte{'\n'}) ++length;
    const std::string_view line = as_text(reader_.take(length, "GLOBAL"));
    reader_.take(1, "GLOBAL");
    return line;
  }

  std::span<const std::byte> rest() {
    ByteReader ahead = reader_;
    return ahead.take(ahead.remaining(), "the pickle");
  }

  void push_integer(ValueKind kind, std::int64_t integer) {
    push(Value{.kind = kind, .integer = integer});
  }

  void push_text(std::uint64_t length) {
    push(Value{.kind = ValueKind::text,
               .text = std::string(as_text(reader_.take(length, "a string")))});
  }

  // Big-endian, unlike everything else in a pickle.
  void push_real() {
    std::uint64_t bits = 0;
    for (const std::byte byte : reader_.take(8, "BINFLOAT"))
      bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
    push(Value{.kind = ValueKind::real, .real = std::bit_cast<double>(bits)});
  }

  // Little-endian two's complement of any length.
  void push_long(std::uint64_t length) {
    const auto bytes = reader_.take(length, "LONG");
    if (bytes.size() > 8) return push(Value{.kind = ValueKind::opaque});
    std::uint64_t bits =
        !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0} ? ~std::uint64_t{0} : 0;
    for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte)
      bits = bits << 8 | std::to_integer<std::uint64_t>(*byte);
    push_integer(ValueKind::integer, static_cast<std::int64_t>(bits));
  }

  void push_items(ValueKind kind, std::vector<ValueRef> items) {
    push(Value{.kind = kind, .items = std::move(items)});
  }

  void push(Value value) {
    check_room(pickle_.values.size());
    pickle_.values.push_back(std::move(value));
    push_ref(static_cast<ValueRef>(pickle_.values.size() - 1));
  }

  void push_ref(ValueRef ref) {
    check_room(stack_.size());
    stack_.push_back(ref);
  }

  void work(std::uint64_t items) {
    if (items > work_left_) reader_.fail("the pickle repeats itself beyond all bounds; refused");
    work_left_ -= items;
  }

  void check_room(std::size_t used) {
    if (used >= kMaxValues)
      reader_.fail("the pickle builds more than " + std::to_string(kMaxValues) + " values");
  }

  const Value& at(ValueRef ref) const { return pickle_.values[ref]; }

  // Values below the latest mark belong to an outer container.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  ValueRef top() {
    if (stack_.size() <= floor()) reader_.fail("the pickle takes a value from an empty stack");
    return stack_.back();
  }

  ValueRef pop() {
    const ValueRef ref = top();
    stack_.pop_back();
    return ref;
  }

  std::vector<ValueRef> pop_to_mark() {
    if (marks_.empty()) reader_.fail("the pickle ends a container that it never began");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<ValueRef> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  void check_pairs(const std::vector<ValueRef>& items) {
    if (items.size() % 2 != 0) reader_.fail("a dict with a key that has no value");
  }

  void extend(ValueKind kind, const std::vector<ValueRef>& items) {
    Value& container = pickle_.values[top()];
    if (container.kind != kind)
      reader_.fail("items are added to something that is no list or dict");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  void remember(std::uint64_t index) {
    check_room(static_cast<std::size_t>(index));
    if (index >= memo_.size()) memo_.resize(static_cast<std::size_t>(index) + 1, kUnset);
    if (memo_[static_cast<std::size_t>(index)] == kUnset) ++memo_size_;
    memo_[static_cast<std::size_t>(index)] = top();
  }

  ValueRef remembered(std::uint32_t index) {
    if (index >= memo_.size() || memo_[index] == kUnset)
      reader_.fail("the pickle recalls the value " + std::to_string(index) +
                   ", which it never kept");
    return memo_[index];
  }

  static constexpr ValueRef kUnset = 0xffffffff;
  static constexpr const char* kAdvice =
      "; save the state dict alone: torch.save(model.state_dict(), \"weights.pth\")";

  ByteReader reader_;
  Pickle pickle_;
  std::vector<ValueRef> stack_, memo_;
  std::uint64_t work_left_ = kMaxWork;
  std::uint64_t memo_size_ = 0;  // how many are set: MEMOIZE's next index
  std::vector<std::size_t> marks_;
};

}  // namespace

const Value* Pickle::find(const Value& dict, std::string_view key) const {
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value& candidate = values[dict.items[i]];
    if (candidate.kind == ValueKind::text && candidate.text == key)
      return &values[dict.items[i + 1]];
  }
  return nullptr;
}

Pickle unpickle(std::span<const std::byte> data, const std::string& file) {
  return Unpickler(data, file).run();
}

}  // namespace blip::io
