/* Headers of a message, searched and taken apart in its bytes. Included by _speedups.c alone. */

#define FIRST_LOOK 2048 /* as in lookup.py */

/* No member can be part of a reference cycle (bytes, text, an Origin, a dict of lists of text), so the garbage collector
   need not visit them. */
typedef struct {
    PyObject_HEAD
    PyObject *raw;    /* bytes */
    PyObject *origin; /* Origin */
    PyObject *index;  /* dict; NULL before a long message is searched */
    PyObject *name;   /* str; of events only */
} Lookup;

typedef enum { FAILED = -1, ABSENT, FOUND, UNDECIDED } Outcome;

/* Whether a header spelled as it is asked for comes before others, or whichever is first in the message. */
typedef enum { EXACT_FIRST, ANY_SPELLING } Order;

static inline unsigned char
lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static int
same_folded(const char *one, const char *other, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        if (lower((unsigned char)one[i]) != lower((unsigned char)other[i])) {
            return 0;
        }
    }
    return 1;
}

/* Return where the line that `at` is in ends: at its CR LF, or at `end`. */
static const char *
end_of_line(const char *at, const char *end)
{
    while ((at = memchr(at, '\r', end - at)) != NULL) {
        if (at + 1 < end && at[1] == '\n') {
            return at;
        }
        at++;
    }
    return end;
}

static PyObject *
decode(Lookup *self, const char *start, const char *end)
{
    /* A copy, and a look whether all of it is ASCII. */
    PyObject *text = PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, start, end - start);
    if (text == NULL || PyUnicode_IS_ASCII(text)) {
        return text;
    }
    Py_DECREF(text);
    if (self->origin == NULL || !PyTuple_Check(self->origin) || PyTuple_GET_SIZE(self->origin) == 0) {
        PyErr_SetString(PyExc_AttributeError, "_origin");
        return NULL;
    }
    /* A codec may be Python code. Hold what it is given, whatever that code does with the message. */
    PyObject *raw = Py_NewRef(self->raw);
    PyObject *origin = Py_NewRef(self->origin);
    const char *encoding = PyUnicode_AsUTF8(PyTuple_GET_ITEM(origin, 0));
    text = encoding == NULL ? NULL : PyUnicode_Decode(start, end - start, encoding, "surrogateescape");
    Py_DECREF(raw);
    Py_DECREF(origin);
    return text;
}

/* Look for a header. Only FOUND sets *value. UNDECIDED: Python has to look. */
static Outcome
search(Lookup *self, const char *name, Py_ssize_t size, Order order, PyObject **value)
{
    if (self->raw == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_raw");
        return FAILED;
    }
    if (!PyBytes_Check(self->raw)) {
        PyErr_SetString(PyExc_TypeError, "_raw must be bytes");
        return FAILED;
    }
    const char *line = PyBytes_AS_STRING(self->raw);
    const char *end = line + PyBytes_GET_SIZE(self->raw);
    int is_long = end - line > FIRST_LOOK;
    if (is_long && order == ANY_SPELLING) {
        return UNDECIDED;
    }
    const char *stop = is_long ? line + FIRST_LOOK : end;
    const char *found = NULL; /* behind the colon of the first one in any spelling */
    for (int is_first = 1; stop - line > size; is_first = 0) {
        if (line[size] == ':' && (found == NULL || order == EXACT_FIRST)) {
            const char *after = line + size + 1;
            if (memcmp(line, name, size) == 0) {
                if (found == NULL) {
                    found = after;
                }
                if (is_first) {
                    break;
                }
                if (after < stop && *after == ' ') {
                    found = after;
                    is_long = 0;
                    break;
                }
            }
            else if (found == NULL && same_folded(line, name, size)) {
                found = after;
            }
            if (found != NULL && order == ANY_SPELLING) {
                break;
            }
        }
        line = end_of_line(line, stop);
        if (line == stop) {
            break;
        }
        line += 2;
    }
    if (is_long) {
        return UNDECIDED;
    }
    if (found == NULL) {
        return ABSENT;
    }
    if (found < end && *found == ' ') {
        found++;
    }
    *value = decode(self, found, end_of_line(found, end));
    return *value == NULL ? FAILED : FOUND;
}

/* What pairs() and plain_dict() need: the bytes of a message, if they are read as UTF-8, which can be done line by line
   with the same result as in one go. Return NULL, without an exception, if Python has to do it. */
static PyObject *
utf8_lines(Lookup *self, const char **line, const char **end)
{
    if (self->raw == NULL || !PyBytes_Check(self->raw) || PyBytes_GET_SIZE(self->raw) == 0) {
        return NULL;
    }
    if (self->origin == NULL || !PyTuple_Check(self->origin) || PyTuple_GET_SIZE(self->origin) == 0) {
        return NULL;
    }
    PyObject *encoding = PyTuple_GET_ITEM(self->origin, 0);
    if (!PyUnicode_Check(encoding) || PyUnicode_CompareWithASCIIString(encoding, "utf-8") != 0) {
        return NULL;
    }
    *line = PyBytes_AS_STRING(self->raw);
    *end = *line + PyBytes_GET_SIZE(self->raw);
    return Py_NewRef(self->raw); /* held, whatever a finalizer does with the message meanwhile */
}

static PyObject *
decode_utf8(const char *start, const char *end)
{
    return PyUnicode_DecodeUTF8(start, end - start, "surrogateescape");
}

/* Return a list of pairs of name and value, all lines in order; a line without a colon is a value without a name. */
static PyObject *
pairs(Lookup *self)
{
    const char *line, *end;
    PyObject *raw = utf8_lines(self, &line, &end);
    if (raw == NULL) {
        return PyObject_CallMethod((PyObject *)self, "_items_any", NULL);
    }
    PyObject *made = PyList_New(0);
    while (made != NULL) {
        const char *stop = end_of_line(line, end);
        const char *colon = memchr(line, ':', stop - line);
        const char *value = colon == NULL ? line : colon + 1;
        if (colon != NULL && value < stop && *value == ' ') {
            value++;
        }
        PyObject *name_text = decode_utf8(line, colon == NULL ? line : colon);
        PyObject *value_text = name_text == NULL ? NULL : decode_utf8(value, stop);
        PyObject *pair = value_text == NULL ? NULL : PyTuple_Pack(2, name_text, value_text);
        Py_XDECREF(name_text);
        Py_XDECREF(value_text);
        if (pair == NULL || PyList_Append(made, pair) < 0) {
            Py_CLEAR(made);
        }
        Py_XDECREF(pair);
        if (stop == end) {
            break;
        }
        line = stop + 2;
    }
    Py_DECREF(raw);
    return made;
}

/* Return a dict of all headers, or None if a line is no ordinary header or a name is there twice. */
static PyObject *
plain_dict(Lookup *self)
{
    const char *line, *end;
    PyObject *raw = utf8_lines(self, &line, &end);
    PyObject *made = raw == NULL ? Py_NewRef(Py_None) : PyDict_New();
    for (Py_ssize_t lines = 1; made != NULL && made != Py_None; lines++) {
        const char *stop = end_of_line(line, end);
        const char *colon = memchr(line, ':', stop - line);
        if (colon == NULL || stop - colon < 2 || colon[1] != ' ') {
            Py_SETREF(made, Py_NewRef(Py_None));
            break;
        }
        PyObject *name = decode_utf8(line, colon);
        PyObject *value = name == NULL ? NULL : decode_utf8(colon + 2, stop);
        if (value == NULL || PyDict_SetItem(made, name, value) < 0) {
            Py_CLEAR(made);
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (made != NULL && PyDict_GET_SIZE(made) != lines) {
            Py_SETREF(made, Py_NewRef(Py_None));
            break;
        }
        if (stop == end) {
            break;
        }
        line = stop + 2;
    }
    Py_XDECREF(raw);
    return made;
}
