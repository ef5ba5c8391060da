// Stored BSON straight to the text a store takes, for documents in which no value and no name needs a look.
//
// `mappers.values.fast_path` says when this is used. It makes what the tables of `mappers.values.json_values` make, byte for byte, or nothing:
// a document with anything it does not know for plain is left to them. So it names no error and knows no policy.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <new>

#include "walk.hpp"

using namespace offramp;

namespace {

struct Direct {
    PyObject_HEAD
    Rules* rules;
};

class Held {  // A reference, given up at the end of its scope.
public:
    explicit Held(PyObject* object) : object_(object) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { Py_XDECREF(object_); }
    PyObject* get() const { return object_; }
    PyObject* give() {
        PyObject* given = object_;
        object_ = nullptr;
        return given;
    }

private:
    PyObject* object_;
};

bool take_names(PyObject* given, std::vector<std::string>& names) {
    const Held items(PySequence_Fast(given, "a sequence of names in bytes"));
    if (!items.get()) return false;
    for (Py_ssize_t at = 0; at < PySequence_Fast_GET_SIZE(items.get()); ++at) {
        char* bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(items.get(), at), &bytes, &size) < 0) return false;
        names.emplace_back(bytes, size);
    }
    return true;
}

PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject* named) {
    static const char* names[] = {"form", "picked", "by_id", "left_out", "not_first", "not_within", "not_on_top", "nameless",
                                  "deepest", "most_number", "scaled", "null_text", nullptr};
    int form, by_id, nameless, deepest, scaled, null_text;
    long long most_number;
    PyObject *picked, *left_out, *not_on_top;
    Py_buffer not_first, not_within;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "iOpOy*y*OpiLpp", const_cast<char**>(names), &form, &picked,
                                     &by_id, &left_out, &not_first, &not_within, &not_on_top, &nameless, &deepest,
                                     &most_number, &scaled, &null_text))
        return nullptr;
    auto rules = std::make_unique<Rules>();
    rules->form = static_cast<Form>(form);
    for (const char byte : Text(static_cast<char*>(not_first.buf), not_first.len))
        rules->not_first[static_cast<unsigned char>(byte)] = true;
    for (const char byte : Text(static_cast<char*>(not_within.buf), not_within.len))
        rules->not_within[static_cast<unsigned char>(byte)] = true;
    PyBuffer_Release(&not_first);
    PyBuffer_Release(&not_within);
    rules->by_id = by_id;
    rules->nameless = nameless, rules->deepest = deepest, rules->most_number = most_number;
    rules->scaled = scaled, rules->null_text = null_text;
    if (!take_names(picked, rules->picked) || !take_names(left_out, rules->left_out)
        || !take_names(not_on_top, rules->not_on_top))
        return nullptr;
    auto* self = reinterpret_cast<Direct*>(type->tp_alloc(type, 0));
    if (self) self->rules = rules.release();
    return reinterpret_cast<PyObject*>(self);
}

void drop(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    delete reinterpret_cast<Direct*>(self)->rules;
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* as_bytes(Text text) { return PyBytes_FromStringAndSize(text.data(), text.size()); }

// The fields of a hash. Documents of a collection have much the same names: `before` has those of the one before.
PyObject* as_pairs(const std::vector<Field>& fields, const Output& text, PyObject* before) {
    Held pairs(PyTuple_New(fields.size()));
    if (!pairs.get()) return nullptr;
    const size_t known = before ? PyTuple_GET_SIZE(before) : 0;
    for (size_t at = 0; at < fields.size(); ++at) {
        PyObject* same = at < known ? PyTuple_GET_ITEM(PyTuple_GET_ITEM(before, at), 0) : nullptr;
        if (same && Text(PyBytes_AS_STRING(same), PyBytes_GET_SIZE(same)) != fields[at].name) same = nullptr;
        Py_XINCREF(same);
        Held pair(PyTuple_New(2)), name(same ? same : as_bytes(fields[at].name));
        Held value(as_bytes(text.part(fields[at].value.from, fields[at].value.to)));
        if (!pair.get() || !name.get() || !value.get()) return nullptr;
        PyTuple_SET_ITEM(pair.get(), 0, name.give());
        PyTuple_SET_ITEM(pair.get(), 1, value.give());
        PyObject_GC_UnTrack(pair.get());  // Of bytes alone, it is in no cycle.
        PyTuple_SET_ITEM(pairs.get(), at, pair.give());
    }
    return pairs.give();
}

PyObject* call(PyObject* self, PyObject* arguments, PyObject*) {
    PyObject* given;
    if (!PyArg_ParseTuple(arguments, "O", &given)) return nullptr;
    const Held documents(PySequence_Tuple(given));  // Nobody else can change it meanwhile.
    if (!documents.get()) return nullptr;
    std::vector<Text> raw;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(documents.get()); ++at) {
        char* bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(documents.get(), at), &bytes, &size) < 0) return nullptr;
        raw.emplace_back(bytes, size);
    }
    const Rules& rules = *reinterpret_cast<Direct*>(self)->rules;
    Output picked, text;
    std::vector<Made> made(raw.size());
    bool memory = true;
    Py_BEGIN_ALLOW_THREADS;
    try {
        Walk walk(rules, picked, text);
        for (size_t at = 0; at < raw.size(); ++at) walk.document(raw[at], made[at]);
    } catch (const std::bad_alloc&) {
        memory = false;
    }
    Py_END_ALLOW_THREADS;
    if (!memory) return PyErr_NoMemory();
    Held answer(PyList_New(raw.size()));
    if (!answer.get()) return nullptr;
    PyObject* before = nullptr;
    for (size_t at = 0; at < raw.size(); ++at) {
        const Made& one = made[at];
        if (!one.plain) {
            Py_INCREF(Py_None);
            PyList_SET_ITEM(answer.get(), at, Py_None);
            continue;
        }
        const Text of = picked.part(one.picked.from, one.picked.to);
        Held pair(PyTuple_New(2));
        Held fields(one.identified ? PyUnicode_DecodeUTF8(of.data(), of.size(), nullptr) : as_bytes(of));
        Held content(rules.form == Form::fields ? as_pairs(one.fields, text, before)
                                                : as_bytes(text.part(one.text.from, one.text.to)));
        if (!pair.get() || !fields.get() || !content.get()) return nullptr;
        if (rules.form == Form::fields) before = content.get();
        PyTuple_SET_ITEM(pair.get(), 0, fields.give());
        PyTuple_SET_ITEM(pair.get(), 1, content.give());
        PyList_SET_ITEM(answer.get(), at, pair.give());
    }
    return answer.give();
}

// A run of BSON documents, cut; None where a length is wrong.
PyObject* cut(PyObject*, PyObject* given) {
    char* bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(given, &bytes, &size) < 0) return nullptr;
    Held documents(PyList_New(0));
    if (!documents.get()) return nullptr;
    for (Text rest(bytes, size); !rest.empty();) {
        const size_t length = rest.size() < 5 ? 0 : little<uint32_t>(rest.data());
        if (length < 5 || length > rest.size()) Py_RETURN_NONE;
        const Held document(as_bytes(rest.substr(0, length)));
        if (!document.get() || PyList_Append(documents.get(), document.get()) < 0) return nullptr;
        rest.remove_prefix(length);
    }
    return documents.give();
}

PyMethodDef functions[] = {
    {"cut", cut, METH_O, "Cuts a run of BSON documents; None where a length is wrong."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Makes texts of documents; see mappers.values.fast_path.")},
    {Py_tp_new, reinterpret_cast<void*>(make)},
    {Py_tp_dealloc, reinterpret_cast<void*>(drop)},
    {Py_tp_call, reinterpret_cast<void*>(call)},
    {0, nullptr},
};

PyType_Spec specification = {"mappers.native._direct.Direct", sizeof(Direct), 0, Py_TPFLAGS_DEFAULT, slots};

int filled(PyObject* module) {
    const Held type(PyType_FromSpec(&specification));
    return type.get() ? PyModule_AddObjectRef(module, "Direct", type.get()) : -1;
}

PyModuleDef_Slot module_slots[] = {{Py_mod_exec, reinterpret_cast<void*>(filled)}, {0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_direct", nullptr, 0, functions, module_slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__direct() { return PyModuleDef_Init(&module); }
