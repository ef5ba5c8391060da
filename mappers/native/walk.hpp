// One document walked from its first byte to its last, and written as its store takes it, if it is plain.
//
// Whatever a decoder would change silently (R2) is not: names that repeat, text that is no UTF-8, deprecated types, lengths
// that do not add up. The format is bsonspec.org's, version 1.1.

#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "text.hpp"

namespace offramp {

enum class Form { json, item, fields };

// What an object is made of, so that `mappers.values.fast_path` decides it and this file does not.
struct Rules {
    Form form = Form::json;
    std::vector<std::string> picked;       // top-level fields given back as they are stored, besides _id
    bool by_id = false;                    // whether the typed text of _id will do in place of fields
    std::vector<std::string> left_out;     // top-level fields that are no part of the text
    std::array<bool, 256> not_first{};     // what no name begins with
    std::array<bool, 256> not_within{};    // what no name has in it
    std::vector<std::string> not_on_top;   // what no top-level field is called
    bool nameless = false;                 // whether a name may be empty
    int deepest = 0;                       // levels of objects and arrays below the document
    int64_t most_number = INT64_MAX;       // whole numbers past it, on either side, are for the tables
    bool scaled = false;                   // whether a decimal's zeros at its end are for the tables
    bool null_text = true;                 // whether a hash has a text for null
};

inline bool has(const std::vector<std::string>& names, Text name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

struct Span {
    size_t from = 0, to = 0;
};

struct Field {
    Text name;
    Span value;
};

struct Element {
    unsigned char kind;
    Text name;
    Text value;
};

// What became of one document.
struct Made {
    bool plain = false;
    bool identified = false;  // What is picked is the typed text of its _id.
    Span picked, text;
    std::vector<Field> fields;
};

constexpr int64_t earliest_ms = -62135596800000, latest_ms = 253402300799999;  // The years 1 to 9999 (R17).
constexpr double least_fraction = 1e-4, most_fraction = 1e15;  // Between them nobody writes an exponent.
constexpr size_t longest_name = 16000;
constexpr size_t most_names = 512;

class Walk {
public:
    Walk(const Rules& rules, Output& picked, Output& text) : rules_(rules), picked_(picked), text_(text) {}

    bool document(Text raw, Made& made) {
        made.picked.from = picked_.size();
        made.text.from = text_.size();
        made.plain = stored(raw) && written(raw, made);
        if (made.plain && !made.identified) finish(made.picked.from);
        made.picked.to = picked_.size();
        made.text.to = text_.size();
        if (!made.plain) {
            picked_.cut(made.picked.from);
            text_.cut(made.text.from);
        }
        return made.plain;
    }

private:
    // An object's bytes are as long as they say, and end where they should.
    static bool stored(Text raw) {
        return raw.size() >= 5 && raw.size() == little<uint32_t>(raw.data()) && raw.back() == 0;
    }

    bool written(Text raw, Made& made) {
        const bool fields = rules_.form == Form::fields;
        picked_.put(Text("\0\0\0\0", 4));
        if (!fields) text_.put('{');
        Text rest = raw.substr(4);
        std::vector<uint64_t> seen;
        seen.reserve(32);
        size_t members = 0;
        while (rest.size() > 1) {
            const Text before = rest;
            const auto element = next(rest);
            if (!element || !named(element->name, seen) || has(rules_.not_on_top, element->name)) return false;
            if (element->name == "_id" && rules_.by_id && typed(*element, made.picked.from)) made.identified = true;
            else if (element->name == "_id" || has(rules_.picked, element->name))
                picked_.put(before.substr(0, before.size() - rest.size()));
            const size_t at = text_.size();
            if (has(rules_.left_out, element->name)) {
                // Looked at as well: what is picked is decoded, which must change nothing.
                if (!value(*element, 0)) return false;
                text_.cut(at);
            } else if (fields) {
                if (!flat(*element)) return false;
                made.fields.push_back({element->name, {at, text_.size()}});
            } else {
                if (members++) text_.put(',');
                text_.quoted(element->name);
                text_.put(':');
                if (!value(*element, 0)) return false;
            }
        }
        if (!fields) text_.put('}');
        return true;
    }

    // What was picked becomes a BSON document.
    void finish(size_t from) {
        picked_.put('\0');
        const auto size = static_cast<uint32_t>(picked_.size() - from);
        std::memcpy(picked_.at(from), &size, sizeof size);
    }

    // The typed text of an _id as `mappers.identity` writes it, for the usual kinds; it takes the place of the fields.
    bool typed(const Element& id, size_t from) {
        const Text raw = id.value;
        if (id.kind == 0x02 && !is_string(raw)) return false;
        if (id.kind != 0x02 && id.kind != 0x07 && id.kind != 0x10 && id.kind != 0x12) return false;
        picked_.cut(from);
        switch (id.kind) {
            case 0x02: picked_.put("s:"), picked_.put(raw.substr(4, raw.size() - 5)); break;
            case 0x07: picked_.put("o:"), picked_.hexadecimal(raw); break;
            case 0x10: picked_.put("n:"), picked_.whole(little<int32_t>(raw.data())); break;
            default: picked_.put("n:"), picked_.whole(little<int64_t>(raw.data()));
        }
        return true;
    }

    // Take the next element; nothing for one that is not of the plain kinds, or that ends too late.
    static std::optional<Element> next(Text& rest) {
        const auto kind = static_cast<unsigned char>(rest[0]);
        const size_t name_end = rest.find('\0', 1);
        if (kind == 0 || name_end == Text::npos) return {};
        const Text name = rest.substr(1, name_end - 1);
        const Text after = rest.substr(name_end + 1);
        size_t size = 0;
        switch (kind) {
            case 0x0A: size = 0; break;
            case 0x08: size = 1; break;
            case 0x10: size = 4; break;
            case 0x01: case 0x09: case 0x12: size = 8; break;
            case 0x07: size = 12; break;
            case 0x13: size = 16; break;
            case 0x02: case 0x03: case 0x04: case 0x05:
                if (after.size() < 5) return {};
                size = little<uint32_t>(after.data());
                if (kind == 0x02) size += 4;
                if (kind == 0x05) size += 5;
                break;
            default: return {};
        }
        if (after.size() <= size) return {};  // The object's own end follows.
        rest = after.substr(size);
        return Element{kind, name, after.substr(0, size)};
    }

    // A name that stays as it is, and that no member before it has. Two that only look alike to the sum are left too.
    bool named(Text name, std::vector<uint64_t>& seen) const {
        if (name.empty()) {
            if (!rules_.nameless) return false;
        } else if (name.size() > longest_name || rules_.not_first[static_cast<unsigned char>(name[0])]) {
            return false;
        }
        uint64_t sum = 0xCBF29CE484222325u;
        bool ascii = true;
        for (const char byte : name) {
            const auto code = static_cast<unsigned char>(byte);
            if (rules_.not_within[code]) return false;
            ascii &= code < 0x80;
            sum = (sum ^ code) * 0x100000001B3u;
        }
        if (!ascii && !is_utf8(name)) return false;
        if (seen.size() >= most_names || std::find(seen.begin(), seen.end(), sum) != seen.end()) return false;
        seen.push_back(sum);
        return true;
    }

    bool value(const Element& element, int depth) {
        const bool item = rules_.form == Form::item;
        const Text raw = element.value;
        switch (element.kind) {
            case 0x01: return fraction(little<double>(raw.data()));
            case 0x02: {
                if (!is_string(raw)) return false;
                const Text text = raw.substr(4, raw.size() - 5);
                return written(Text("S"), [&] { text_.quoted(text); });
            }
            case 0x03: case 0x04: return container(element, depth + 1);
            case 0x05: return binary(raw);
            case 0x07:
                return written(Text("S"), [&] { text_.put('"'), text_.hexadecimal(raw), text_.put('"'); });
            case 0x08:
                if (raw[0] != 0 && raw[0] != 1) return false;
                return written(Text("BOOL"), [&] { text_.put(raw[0] ? Text("true") : Text("false")); });
            case 0x09: {
                const auto ms = little<int64_t>(raw.data());
                if (ms < earliest_ms || ms > latest_ms) return false;
                if (item) return number([&] { text_.whole(ms); });
                text_.put('"'), date(ms), text_.put('"');
                return true;
            }
            case 0x0A:
                text_.put(item ? Text("{\"NULL\":true}") : Text("null"));
                return true;
            case 0x10: return whole(little<int32_t>(raw.data()));
            case 0x12: return whole(little<int64_t>(raw.data()));
            case 0x13: {
                const size_t before = text_.size();
                text_.put(item ? Text("{\"N\":\"") : Text("\""));
                if (!decimal(raw, item)) return text_.cut(before), false;
                text_.put(item ? Text("\"}") : Text("\""));
                return true;
            }
            default: return false;
        }
    }

    // A value of a hash: text as it is, not quoted (R19).
    bool flat(const Element& element) {
        const Text raw = element.value;
        switch (element.kind) {
            case 0x02:
                if (!is_string(raw)) return false;
                text_.put(raw.substr(4, raw.size() - 5));
                return true;
            case 0x05:
                if (raw[4] != 0) break;
                text_.put(raw.substr(5));
                return true;
            case 0x07: return text_.hexadecimal(raw), true;
            case 0x09: {
                const auto ms = little<int64_t>(raw.data());
                if (ms < earliest_ms || ms > latest_ms) return false;
                return date(ms), true;
            }
            case 0x0A:
                text_.put(Text("\0null", 5));
                // A hash without its _id might have no field at all.
                return rules_.null_text || element.name == "_id";
            case 0x10: return text_.whole(little<int32_t>(raw.data())), true;
            case 0x12: return text_.whole(little<int64_t>(raw.data())), true;
            case 0x13: return decimal(raw, false);
            default: break;
        }
        const size_t before = text_.size();
        if (!value(element, 0)) return false;
        if (element.kind == 0x05) {  // A UUID, without its quotes.
            const std::string uuid(text_.part(before + 1, text_.size() - 1));
            text_.cut(before);
            text_.put(uuid);
        }
        return true;
    }

    static bool is_string(Text raw) {
        return little<uint32_t>(raw.data()) == raw.size() - 4 && raw.size() >= 5 && raw.back() == 0
            && is_utf8(raw.substr(4, raw.size() - 5));
    }

    template <typename Write>
    bool written(Text type, Write write) {
        if (rules_.form != Form::item) return write(), true;
        text_.put("{\""), text_.put(type), text_.put("\":"), write(), text_.put('}');
        return true;
    }

    template <typename Write>
    bool number(Write write) {
        if (rules_.form != Form::item) return write(), true;
        text_.put("{\"N\":\""), write(), text_.put("\"}");
        return true;
    }

    bool whole(int64_t value) {
        if (value > rules_.most_number || value < -rules_.most_number) return false;
        return number([&] { text_.whole(value); });
    }

    bool fraction(double value) {
        const double size = std::fabs(value);
        const bool zero = value == 0 && !std::signbit(value);
        if (!zero && !(size >= least_fraction && size < most_fraction)) return false;
        return number([&] {
            const bool pointed = text_.fraction(value).find('.') != Text::npos;
            if (!pointed && rules_.form != Form::item) text_.put(".0");
        });
    }

    // As `mappers.documents.decimals` writes it, from IEEE 754's binary integer significand.
    bool decimal(Text raw, bool item) {
        const auto low = little<uint64_t>(raw.data()), high = little<uint64_t>(raw.data() + 8);
        if ((high >> 61 & 3) == 3) return false;
        int exponent = static_cast<int>(high >> 49 & 0x3FFF) - 6176;
        auto significand = static_cast<unsigned __int128>(high & ((uint64_t{1} << 49) - 1)) << 64 | low;
        const bool zero = significand == 0;
        char digits[48];
        char* const end = digits + sizeof digits;
        char* first = end;
        do *--first = static_cast<char>('0' + static_cast<int>(significand % 10));
        while (significand /= 10);
        int places = static_cast<int>(end - first);
        if (places > 34 || exponent > 0 || exponent + places < -5) return false;
        Text shown(first, places);
        if (item) {
            if (zero) {
                if (high >> 63) return false;
                if (rules_.scaled && exponent) return false;
                return text_.put('0'), true;
            }
            while (exponent < 0 && shown.back() == '0') {
                if (rules_.scaled) return false;
                shown.remove_suffix(1), --places, ++exponent;
            }
        }
        if (high >> 63) text_.put('-');
        if (!exponent) return text_.put(shown), true;
        if (places > -exponent) {
            text_.put(shown.substr(0, places + exponent)), text_.put('.'), text_.put(shown.substr(places + exponent));
            return true;
        }
        text_.put("0.");
        for (int missing = -exponent - places; missing > 0; --missing) text_.put('0');
        return text_.put(shown), true;
    }

    bool binary(Text raw) {
        const Text content = raw.substr(5);
        if (raw[4] == 0)
            return written(Text("B"), [&] { text_.put('"'), text_.base64(content), text_.put('"'); });
        if (raw[4] != 4 || content.size() != 16) return false;
        return written(Text("S"), [&] {
            text_.put('"');
            size_t at = 0;
            for (const size_t bytes : {4, 2, 2, 2, 6}) {
                if (at) text_.put('-');
                text_.hexadecimal(content.substr(at, bytes));
                at += bytes;
            }
            text_.put('"');
        });
    }

    bool container(const Element& element, int depth) {
        if (depth > rules_.deepest || !stored(element.value)) return false;
        const bool array = element.kind == 0x04, item = rules_.form == Form::item;
        if (item) text_.put(array ? "{\"L\":" : "{\"M\":");
        text_.put(array ? '[' : '{');
        Text rest = element.value.substr(4);
        std::vector<uint64_t> seen;
        size_t members = 0;
        while (rest.size() > 1) {
            const auto member = next(rest);
            if (!member) return false;
            if (members) text_.put(',');
            if (array) {
                char place[20];
                if (member->name != Text(place, std::to_chars(place, place + sizeof place, members).ptr - place))
                    return false;
            } else {
                if (!named(member->name, seen)) return false;
                text_.quoted(member->name), text_.put(':');
            }
            if (!value(*member, depth)) return false;
            ++members;
        }
        text_.put(array ? ']' : '}');
        if (item) text_.put('}');
        return true;
    }

    // ISO 8601 with three decimals and Z. The calendar by the days of 400 years, each year begun in March.
    void date(int64_t ms) {
        int64_t day = ms / 86400000, rest = ms % 86400000;
        if (rest < 0) --day, rest += 86400000;
        day += 719468;
        const int64_t era = day / 146097;  // No year is before 1, so none is negative.
        const auto of_era = static_cast<int>(day - era * 146097);
        const int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
        const int of_year = of_era - (365 * year + year / 4 - year / 100);
        const int shifted = (5 * of_year + 2) / 153;
        const int month = shifted < 10 ? shifted + 3 : shifted - 9;
        const int shown = static_cast<int>(era) * 400 + year + (month <= 2);
        text_.two(shown / 100), text_.two(shown % 100), text_.put('-');
        text_.two(month), text_.put('-'), text_.two(of_year - (153 * shifted + 2) / 5 + 1), text_.put('T');
        const auto left = static_cast<int>(rest);
        text_.two(left / 3600000), text_.put(':'), text_.two(left / 60000 % 60), text_.put(':');
        text_.two(left / 1000 % 60), text_.put('.');
        text_.put(static_cast<char>('0' + left % 1000 / 100)), text_.two(left % 100), text_.put('Z');
    }

    const Rules& rules_;
    Output& picked_;
    Output& text_;
};

}  // namespace offramp
