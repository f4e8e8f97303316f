/* What costs most in lookup.py, in C: headers of a message found in its bytes (_lookup.h), by name or by a field, and events
   made of bytes.

   The rules and their reasons are in lookup.py. What is rare is left to Python: long messages, and names that a
   comparison of bytes does not find. The bytes and the origin of a message do not change once it is made, and this module
   keeps no state but its types, so it needs no lock where Python has none. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <string.h>

#include "_lookup.h"

typedef struct {
    PyTypeObject *lookup;
} State;

/* As search(), for a name as a program gives it; never UNDECIDED. */
static Outcome
search_name(Lookup *self, PyObject *name, Order order, PyObject **value)
{
    if (PyUnicode_Check(name) && PyUnicode_IS_COMPACT_ASCII(name) && PyUnicode_GET_LENGTH(name) > 0) {
        const char *text = (const char *)PyUnicode_1BYTE_DATA(name);
        Outcome outcome = search(self, text, PyUnicode_GET_LENGTH(name), order, value);
        if (outcome != UNDECIDED) {
            return outcome;
        }
    }
    *value = PyObject_CallMethod((PyObject *)self, "_find_named", "(O)", name);
    if (*value == NULL) {
        return FAILED;
    }
    if (*value == Py_None) {
        Py_DECREF(*value);
        return ABSENT;
    }
    return FOUND;
}

static PyObject *
get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords, Order order)
{
    PyObject *name = count > 0 ? args[0] : NULL;
    PyObject *fallback = count > 1 ? args[1] : NULL;
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        PyObject **argument = PyUnicode_CompareWithASCIIString(keyword, "name") == 0 ? &name
            : PyUnicode_CompareWithASCIIString(keyword, "default") == 0              ? &fallback
                                                                                     : NULL;
        if (argument == NULL || *argument != NULL) {
            return PyErr_Format(PyExc_TypeError, "get() got an unexpected or repeated argument %R", keyword);
        }
        *argument = args[count + i];
    }
    if (name == NULL || count > 2) {
        return PyErr_Format(PyExc_TypeError, "get() takes a name and a default, %zd arguments given", count + named);
    }
    PyObject *value;
    switch (search_name((Lookup *)self, name, order, &value)) {
    case FOUND:
        return value;
    case ABSENT:
        return Py_NewRef(fallback == NULL ? Py_None : fallback);
    default:
        return NULL;
    }
}

static PyObject *
get_item(PyObject *self, PyObject *name, Order order)
{
    PyObject *value;
    switch (search_name((Lookup *)self, name, order, &value)) {
    case FOUND:
        return value;
    case ABSENT:
        PyErr_SetObject(PyExc_KeyError, name);
        return NULL;
    default:
        return NULL;
    }
}

static int
contains(PyObject *self, PyObject *name, Order order)
{
    if (!PyUnicode_Check(name)) {
        return 0;
    }
    PyObject *value;
    Outcome outcome = search_name((Lookup *)self, name, order, &value);
    if (outcome == FOUND) {
        Py_DECREF(value);
    }
    return outcome;
}

/* Look for the header of a needle (needle.py). */
static PyObject *
find(PyObject *self, PyObject *needle, Order order)
{
    PyObject *line = PyTuple_Check(needle) && PyTuple_GET_SIZE(needle) > 4 ? PyTuple_GET_ITEM(needle, 2) : NULL;
    if (line == NULL || !PyBytes_Check(line) || PyBytes_GET_SIZE(line) == 0) {
        PyErr_SetString(PyExc_TypeError, "_find() takes a needle");
        return NULL;
    }
    Outcome outcome = UNDECIDED;
    PyObject *value;
    if (PyTuple_GET_ITEM(needle, 4) == Py_False) {
        outcome = search((Lookup *)self, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line) - 1, order, &value);
    }
    switch (outcome) {
    case FOUND:
        return value;
    case ABSENT:
        Py_RETURN_NONE;
    case UNDECIDED:
        return PyObject_CallMethod(self, order == EXACT_FIRST ? "_find_any" : "_find_folded", "(O)", needle);
    default:
        return NULL;
    }
}

#define GET_DOC "get($self, /, name, default=None)\n--\n\nThe first value of a header, or ``default``."

#define ITEMS_DOC "items($self, /)\n--\n\nPairs of name and value in wire order, with repeats."

static PyObject *
items(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return pairs((Lookup *)self);
}

static PyObject *
make_plain_dict(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return plain_dict((Lookup *)self);
}

#define METHODS(prefix, order)                                                                                         \
    static PyObject *prefix##_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)         \
    {                                                                                                                  \
        return get(self, args, count, keywords, order);                                                                \
    }                                                                                                                  \
    static PyObject *prefix##_get_item(PyObject *self, PyObject *name)                                                 \
    {                                                                                                                  \
        return get_item(self, name, order);                                                                            \
    }                                                                                                                  \
    static int prefix##_contains(PyObject *self, PyObject *name)                                                       \
    {                                                                                                                  \
        return contains(self, name, order);                                                                            \
    }                                                                                                                  \
    static PyObject *prefix##_find(PyObject *self, PyObject *needle)                                                   \
    {                                                                                                                  \
        return find(self, needle, order);                                                                              \
    }                                                                                                                  \
    static PyMethodDef prefix##_methods[] = {                                                                          \
        {"get", (PyCFunction)(void (*)(void))prefix##_get, METH_FASTCALL | METH_KEYWORDS, GET_DOC},                    \
        {"_find", prefix##_find, METH_O, NULL},                                                                        \
        {"items", items, METH_NOARGS, ITEMS_DOC},                                                                      \
        {"_plain_dict", make_plain_dict, METH_NOARGS, NULL},                                                           \
        {NULL, NULL, 0, NULL},                                                                                         \
    }

METHODS(lookup, EXACT_FIRST);
METHODS(any_spelling, ANY_SPELLING);

static void
dealloc(PyObject *object)
{
    Lookup *self = (Lookup *)object;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->raw);
    Py_XDECREF(self->origin);
    Py_XDECREF(self->index);
    Py_XDECREF(self->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"_raw", T_OBJECT_EX, offsetof(Lookup, raw), 0, NULL},
    {"_origin", T_OBJECT_EX, offsetof(Lookup, origin), 0, NULL},
    {"_index", T_OBJECT_EX, offsetof(Lookup, index), 0, NULL},
    {"_event_name", T_OBJECT_EX, offsetof(Lookup, name), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot lookup_slots[] = {
    {Py_tp_doc, "The headers of a message, by name."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, lookup_methods},
    {Py_mp_subscript, lookup_get_item},
    {Py_sq_contains, lookup_contains},
    {0, NULL},
};

static PyType_Spec lookup_spec = {
    .name = "pyami_sync.wire._speedups.Lookup",
    .basicsize = sizeof(Lookup),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lookup_slots,
};

static PyType_Slot any_spelling_slots[] = {
    {Py_tp_doc, "The headers of a message, by name in any spelling; the first one counts."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, any_spelling_methods},
    {Py_mp_subscript, any_spelling_get_item},
    {Py_sq_contains, any_spelling_contains},
    {0, NULL},
};

static PyType_Spec any_spelling_spec = {
    .name = "pyami_sync.wire._speedups.AnySpelling",
    .basicsize = sizeof(Lookup),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = any_spelling_slots,
};

/* The base of the descriptors in fields.py. */
typedef struct {
    PyObject_HEAD
    PyObject *key;     /* a needle */
    PyObject *convert; /* called with the text; None for text as it is */
} HeaderField;

static PyObject *
field_get(PyObject *object, PyObject *message, PyObject *Py_UNUSED(owner))
{
    HeaderField *self = (HeaderField *)object;
    if (message == NULL || message == Py_None) {
        return Py_NewRef(object);
    }
    if (self->key == NULL || self->convert == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_key");
        return NULL;
    }
    /* A type has these functions only if it is one of ours that does not look for headers in another way. */
    PyMappingMethods *mapping = Py_TYPE(message)->tp_as_mapping;
    binaryfunc get_item = mapping == NULL ? NULL : mapping->mp_subscript;
    PyObject *text;
    if (get_item == lookup_get_item) {
        text = find(message, self->key, EXACT_FIRST);
    }
    else if (get_item == any_spelling_get_item) {
        text = find(message, self->key, ANY_SPELLING);
    }
    else {
        text = PyObject_CallMethod(message, "_find", "(O)", self->key);
    }
    if (text == NULL || text == Py_None || self->convert == Py_None) {
        return text;
    }
    PyObject *value = PyObject_CallOneArg(self->convert, text);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        value = PyObject_CallMethod(object, "_unusable", "(O)", text);
    }
    Py_DECREF(text);
    return value;
}

static void
field_dealloc(PyObject *object)
{
    HeaderField *self = (HeaderField *)object;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->key);
    Py_XDECREF(self->convert);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef field_members[] = {
    {"_key", T_OBJECT_EX, offsetof(HeaderField, key), 0, NULL},
    {"_convert", T_OBJECT_EX, offsetof(HeaderField, convert), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot field_slots[] = {
    {Py_tp_doc, "A descriptor whose value is that of one header of the message."},
    {Py_tp_dealloc, field_dealloc},
    {Py_tp_members, field_members},
    {Py_tp_descr_get, field_get},
    {0, NULL},
};

static PyType_Spec field_spec = {
    .name = "pyami_sync.wire._speedups.HeaderField",
    .basicsize = sizeof(HeaderField),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = field_slots,
};

static PyObject *
new_event(PyTypeObject *cls, PyObject *raw, PyObject *origin, PyObject *name)
{
    Lookup *made = (Lookup *)cls->tp_alloc(cls, 0);
    if (made != NULL) {
        made->raw = Py_NewRef(raw);
        made->origin = Py_NewRef(origin);
        made->name = Py_NewRef(name);
    }
    return (PyObject *)made;
}

static int
is_lookup(PyObject *module, PyObject *cls)
{
    State *state = PyModule_GetState(module);
    if (PyType_Check(cls) && PyType_IsSubtype((PyTypeObject *)cls, state->lookup)) {
        return 1;
    }
    PyErr_Format(PyExc_TypeError, "%R is no class of events", cls);
    return 0;
}

static PyObject *
make_event(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        return PyErr_Format(PyExc_TypeError, "make_event() takes 4 arguments, %zd given", count);
    }
    return is_lookup(module, args[0]) ? new_event((PyTypeObject *)args[0], args[1], args[2], args[3]) : NULL;
}

static PyObject *
make_events(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyList_CheckExact(args[1])) {
        return PyErr_Format(PyExc_TypeError, "make_events() takes a class, a list, an origin and a name");
    }
    if (!is_lookup(module, args[0])) {
        return NULL;
    }
    /* A tuple, because finalizers may run between two events, and a list that they shorten would be read beyond its end. */
    PyObject *frames = PyList_AsTuple(args[1]);
    PyObject *made = frames == NULL ? NULL : PyList_New(PyTuple_GET_SIZE(frames));
    for (Py_ssize_t i = 0; made != NULL && i < PyList_GET_SIZE(made); i++) {
        PyObject *event = new_event((PyTypeObject *)args[0], PyTuple_GET_ITEM(frames, i), args[2], args[3]);
        if (event == NULL) {
            Py_CLEAR(made);
        }
        else {
            PyList_SET_ITEM(made, i, event);
        }
    }
    Py_XDECREF(frames);
    return made;
}

static PyMethodDef functions[] = {
    {"make_event", (PyCFunction)(void (*)(void))make_event, METH_FASTCALL, NULL},
    {"make_events", (PyCFunction)(void (*)(void))make_events, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    if (type == NULL) {
        return -1;
    }
    int done = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return done;
}

static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->lookup = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lookup_spec, NULL);
    if (state->lookup == NULL || PyModule_AddType(module, state->lookup) < 0) {
        return -1;
    }
    if (add_type(module, &any_spelling_spec, (PyObject *)state->lookup) < 0) {
        return -1;
    }
    return add_type(module, &field_spec, NULL);
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->lookup);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->lookup);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyami_sync.wire._speedups",
    .m_doc = "What costs most in lookup.py, in C.",
    .m_size = sizeof(State),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
