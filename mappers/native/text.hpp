// Text being written, and the bytes it is made of.

#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace offramp {

using Text = std::string_view;

template <typename Number>
Number little(const char* at) {  // On the machines Python is built for, the order BSON stores.
    Number number;
    std::memcpy(&number, at, sizeof number);
    return number;
}

// Whether one of eight bytes may be a control character, a quote or a backslash.
inline bool any_escaped(uint64_t bytes) {
    constexpr uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    const uint64_t quotes = bytes ^ (ones * '"'), slashes = bytes ^ (ones * '\\');
    return ((bytes - ones * 0x20) & ~bytes & tops) | ((quotes - ones) & ~quotes & tops)
        | ((slashes - ones) & ~slashes & tops);
}

inline bool is_utf8(Text text) {
    auto at = reinterpret_cast<const unsigned char*>(text.data());
    const auto end = at + text.size();
    while (at < end) {
        if (end - at >= 8 && !(little<uint64_t>(reinterpret_cast<const char*>(at)) & 0x8080808080808080u)) {
            at += 8;
            continue;
        }
        const unsigned char first = *at++;
        if (first < 0x80) continue;
        // The second byte's range keeps out what is too long for its character, surrogates, and what is past U+10FFFF.
        unsigned char least = 0x80, most = 0xBF;
        int more = 0;
        if (first >= 0xC2 && first <= 0xDF) more = 1;
        else if (first >= 0xE0 && first <= 0xEF) more = 2;
        else if (first >= 0xF0 && first <= 0xF4) more = 3;
        else return false;
        if (first == 0xE0) least = 0xA0;
        if (first == 0xED) most = 0x9F;
        if (first == 0xF0) least = 0x90;
        if (first == 0xF4) most = 0x8F;
        if (end - at < more || *at < least || *at > most) return false;
        for (++at; --more > 0; ++at)
            if (*at < 0x80 || *at > 0xBF) return false;
    }
    return true;
}

// Text being written; room is made before it is needed, so that a byte costs a store.
class Output {
public:
    size_t size() const { return used_; }
    Text part(size_t from, size_t to) const { return {bytes_.data() + from, to - from}; }
    void cut(size_t size) { used_ = size; }
    char* at(size_t place) { return bytes_.data() + place; }

    void put(char byte) {
        room(1);
        bytes_[used_++] = byte;
    }
    void put(Text text) {
        if (text.empty()) return;
        room(text.size());
        std::memcpy(bytes_.data() + used_, text.data(), text.size());
        used_ += text.size();
    }
    // A string of JSON; eight bytes at once where none of them is escaped.
    void quoted(Text text) {
        static constexpr char digits[] = "0123456789abcdef";
        room(6 * text.size() + 10);
        char* to = bytes_.data() + used_;
        *to++ = '"';
        const char* at = text.data();
        const char* const end = at + text.size();
        while (at < end) {
            if (end - at >= 8 && !any_escaped(little<uint64_t>(at))) {
                std::memcpy(to, at, 8);
                to += 8, at += 8;
                continue;
            }
            const char byte = *at++;
            const auto code = static_cast<unsigned char>(byte);
            if (code >= 0x20 && code != '"' && code != '\\') {
                *to++ = byte;
                continue;
            }
            *to++ = '\\';
            switch (code) {
                case '"': *to++ = '"'; break;
                case '\\': *to++ = '\\'; break;
                case '\b': *to++ = 'b'; break;
                case '\t': *to++ = 't'; break;
                case '\n': *to++ = 'n'; break;
                case '\f': *to++ = 'f'; break;
                case '\r': *to++ = 'r'; break;
                default:
                    *to++ = 'u', *to++ = '0', *to++ = '0', *to++ = digits[code >> 4], *to++ = digits[code & 15];
            }
        }
        *to++ = '"';
        used_ = to - bytes_.data();
    }
    void whole(int64_t number) {
        room(20);
        used_ = std::to_chars(bytes_.data() + used_, bytes_.data() + bytes_.size(), number).ptr - bytes_.data();
    }
    // Without an exponent, and shortest: the digits that tell it from its neighbours.
    Text fraction(double number) {
        room(32);
        const size_t from = used_;
        const auto end = bytes_.data() + bytes_.size();
        used_ = std::to_chars(bytes_.data() + used_, end, number, std::chars_format::fixed).ptr - bytes_.data();
        return part(from, used_);
    }
    void two(int number) {
        room(2);
        bytes_[used_++] = static_cast<char>('0' + number / 10);
        bytes_[used_++] = static_cast<char>('0' + number % 10);
    }
    void hexadecimal(Text bytes) {
        static constexpr char digits[] = "0123456789abcdef";
        room(2 * bytes.size());
        for (const char byte : bytes) {
            bytes_[used_++] = digits[static_cast<unsigned char>(byte) >> 4];
            bytes_[used_++] = digits[byte & 15];
        }
    }
    void base64(Text bytes) {
        static constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        room(4 * (bytes.size() / 3 + 1));
        for (size_t at = 0; at < bytes.size(); at += 3) {
            const size_t some = std::min<size_t>(3, bytes.size() - at);
            uint32_t three = 0;
            for (size_t one = 0; one < 3; ++one)
                three = three << 8 | (one < some ? static_cast<unsigned char>(bytes[at + one]) : 0);
            for (size_t one = 0; one < 4; ++one)
                bytes_[used_++] = one <= some ? letters[three >> (18 - 6 * one) & 63] : '=';
        }
    }

private:
    void room(size_t more) {
        if (used_ + more > bytes_.size()) bytes_.resize(std::max(2 * bytes_.size(), used_ + more + 4096));
    }
    std::vector<char> bytes_;
    size_t used_ = 0;
};

}  // namespace offramp
